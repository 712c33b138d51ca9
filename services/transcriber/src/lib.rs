//! callfold-transcriber: a recording in the blob store becomes text.

#![deny(unsafe_code)]

pub mod audio;
pub mod engine;
pub mod wer;
