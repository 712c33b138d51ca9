//! callfold-kit
