//! callfold-summarizer
