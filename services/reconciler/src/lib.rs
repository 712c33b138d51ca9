//! callfold-reconciler
