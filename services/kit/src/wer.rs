//! Word error rate: how far a recognised text is from what was said.

/// Words of a reference text and how many of them a hypothesis got wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WordErrors {
    /// Words in the reference.
    pub words: usize,
    /// Fewest substitutions, deletions and insertions that lead from one text to the other.
    pub errors: usize,
}

impl WordErrors {
    /// Errors per word of the reference; of an empty reference 0 when nothing was recognised either, else 1.
    pub fn rate(self) -> f64 {
        match (self.words, self.errors) {
            (0, 0) => 0.0,
            (0, _) => 1.0,
            (words, errors) => errors as f64 / words as f64,
        }
    }
}

impl std::ops::Add for WordErrors {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            words: self.words + other.words,
            errors: self.errors + other.errors,
        }
    }
}

impl std::iter::Sum for WordErrors {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), std::ops::Add::add)
    }
}

/// Compares two texts word by word. Full stops and commas count as blanks, as in `assets/training/wer.py`.
pub fn word_error_rate(reference: &str, hypothesis: &str) -> WordErrors {
    let reference: Vec<&str> = words(reference).collect();
    // One row of the edit distance at a time: row[j] is the distance of the reference so far to j words.
    let hypothesis: Vec<&str> = words(hypothesis).collect();
    let mut row: Vec<usize> = (0..=hypothesis.len()).collect();
    for (i, said) in reference.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, heard) in hypothesis.iter().enumerate() {
            let substituted = diagonal + usize::from(said != heard);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    WordErrors {
        words: reference.len(),
        errors: row[hypothesis.len()],
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == '.' || c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_counts_one() {
        let errors = |a, b| word_error_rate(a, b).errors;
        assert_eq!(errors("שלום, מדבר דוד.", "שלום מדבר דוד"), 0);
        assert_eq!(errors("a b c", "a x c"), 1);
        assert_eq!(errors("a b c", "a c"), 1);
        assert_eq!(errors("a b c", "a b b c"), 1);
        assert_eq!(errors("a b c", ""), 3);
        assert_eq!(errors("", "a b"), 2);
        assert_eq!(errors("a b c d", "b c d e"), 2);
    }

    #[test]
    fn rates_add_up_over_texts() {
        let total: WordErrors = [word_error_rate("a b", "a b"), word_error_rate("c d", "c")]
            .into_iter()
            .sum();
        assert_eq!(total, WordErrors { words: 4, errors: 1 });
        assert_eq!(total.rate().to_bits(), 0.25_f64.to_bits());
        assert_eq!(word_error_rate("", "").rate().to_bits(), 0.0_f64.to_bits());
    }
}
