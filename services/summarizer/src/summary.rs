//! A headline and points, whichever engine found them.

use crate::text::{bounded, clean};

/// Longest title, in characters.
pub const TITLE_CHARS_MAX: usize = 120;
/// Longest point, in characters.
pub const POINT_CHARS_MAX: usize = 200;
/// Most points below a title.
pub const POINTS_MAX: usize = 2;

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
            let said = same(&point, &title) || kept.iter().any(|other| same(&point, other));
            if point.chars().any(char::is_alphanumeric) && !said {
                kept.push(point);
            }
        }
        Some(Self { title, points: kept })
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

/// Whether two texts say the same but for punctuation and case.
fn same(a: &str, b: &str) -> bool {
    let letters = |text: &str| -> String {
        text.chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect()
    };
    letters(a) == letters(b)
}
