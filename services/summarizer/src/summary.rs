//! A headline and points, whichever engine found them.

use crate::repeat::says_the_same;
use crate::text::{bounded, bounded_words, clean, count_words};

/// Longest title, in characters.
pub const TITLE_CHARS_MAX: usize = 120;
/// Longest point, in characters.
pub const POINT_CHARS_MAX: usize = 200;
/// Most points below a title.
pub const POINTS_MAX: usize = 2;
/// Most words of title and points together: what is read at a glance.
pub const WORDS_MAX: usize = 30;
/// A longer text has so many words of summary at least.
pub const WORDS_MIN: usize = 10;
/// Most words of the title where points need room as well.
const TITLE_WORDS_MAX: usize = 14;
/// Longest name of a caller, in characters.
pub const NAME_CHARS_MAX: usize = 60;
/// Longest topic, in characters.
pub const TOPIC_CHARS_MAX: usize = 60;

/// A headline and the points below it: plain text, one line each, bounded, none said twice.
#[derive(Clone, PartialEq, Eq)]
pub struct Summary {
    title: String,
    points: Vec<String>,
}

impl Summary {
    /// Cleans and bounds title and points; drops empty ones and what was said already. `None` without a title.
    pub(crate) fn new(title: &str, points: impl IntoIterator<Item = impl AsRef<str>>) -> Option<Self> {
        let title = bounded(&clean(title), TITLE_CHARS_MAX);
        if !title.chars().any(char::is_alphanumeric) {
            return None;
        }
        let mut kept: Vec<String> = Vec::new();
        for point in points {
            if kept.len() == POINTS_MAX {
                break;
            }
            let point = bounded(&clean(point.as_ref()), POINT_CHARS_MAX);
            let said = says_the_same(&point, &title) || kept.iter().any(|other| says_the_same(&point, other));
            if point.chars().any(char::is_alphanumeric) && !said {
                kept.push(point);
            }
        }
        Some(Self { title, points: kept }.within_words())
    }

    /// The same with at most [`WORDS_MAX`] words in all.
    fn within_words(self) -> Self {
        let count = |lines: &[String]| lines.iter().map(|line| count_words(line)).sum::<usize>();
        if count_words(&self.title) + count(&self.points) <= WORDS_MAX {
            return self;
        }
        let room_for_title = WORDS_MAX.saturating_sub(count(&self.points)).max(TITLE_WORDS_MAX);
        let title = bounded_words(&self.title, room_for_title.min(WORDS_MAX));
        let mut left = WORDS_MAX.saturating_sub(count_words(&title));
        let mut points = Vec::new();
        let mut waiting = self.points.len();
        for point in &self.points {
            // What the ones behind do not need is for this one; else they share.
            let behind: usize = self.points[self.points.len() - waiting + 1..]
                .iter()
                .map(|point| count_words(point))
                .sum();
            let share = left.saturating_sub(behind).max(left / waiting);
            let point = bounded_words(point, share);
            left = left.saturating_sub(count_words(&point));
            waiting -= 1;
            if point.chars().any(char::is_alphanumeric) {
                points.push(point);
            }
        }
        Self { title, points }
    }

    /// One line of at most [`TITLE_CHARS_MAX`] characters.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// At most [`POINTS_MAX`] lines of at most [`POINT_CHARS_MAX`] characters.
    #[must_use]
    pub fn points(&self) -> &[String] {
        &self.points
    }

    /// Title and points, a line each.
    #[must_use]
    pub fn text(&self) -> String {
        std::iter::once(&self.title)
            .chain(&self.points)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Summaries are never logged, by accident neither.
impl std::fmt::Debug for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Summary")
            .field("points", &self.points.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use super::*;

    fn words(count: usize, word: &str) -> String {
        (0..count)
            .map(|n| format!("{word}{n}"))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn title_and_points_share_thirty_words() {
        for lens in [
            [5, 40, 40],
            [40, 40, 40],
            [40, 2, 2],
            [14, 10, 7],
            [30, 1, 1],
            [1, 28, 30],
        ] {
            let [title, one, two] = lens;
            let summary = Summary::new(&words(title, "א"), [words(one, "ב"), words(two, "ג")]).unwrap();
            let count = count_words(&summary.text());
            assert!(count <= WORDS_MAX, "{lens:?}: {count}");
            assert_eq!(summary.points().len(), 2, "{lens:?}");
            assert!(count >= WORDS_MAX - 1, "{lens:?}: {count}");
        }
    }

    #[test]
    fn what_fits_is_left_alone() {
        let summary = Summary::new(&words(10, "א"), [words(10, "ב"), words(10, "ג")]).unwrap();
        assert!(!summary.text().contains('…'));
    }
}
