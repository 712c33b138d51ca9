//! callfold-downloader
