//! That what is checked in about the C ABI is current, and breaks nobody.

#[test]
fn the_header_is_current() {
    xtask::header::check().unwrap();
}

#[test]
fn programs_built_against_the_last_release_still_run() {
    xtask::abi::check().unwrap();
}
