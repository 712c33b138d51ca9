//! A server that speaks OpenAI's chat completions: the summarizer's own double.

pub(crate) use callfold_summarizer::testing::{ModelDouble, Reply};
