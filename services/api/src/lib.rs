//! callfold-api
