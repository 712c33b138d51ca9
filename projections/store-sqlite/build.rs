//! `sqlx::migrate!` reads the folder at compile time; cargo has to know.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
