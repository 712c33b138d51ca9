//! callfold-transcriber
