//! callfold-lead
