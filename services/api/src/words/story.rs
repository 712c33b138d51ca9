//! What happened to a lead, and its runs.

use super::words;

words! { Story
    stages:
        "שלבי העיבוד",
        "Stages";
    stages_of:
        "שלבי העיבוד · {}",
        "Stages · {}";
    rerun:
        "עיבוד מחדש",
        "Run again";
}
