//! callfold-projector
