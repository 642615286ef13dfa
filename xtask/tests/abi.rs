//! That what is checked in about the C ABI is current, and breaks nobody.

#[test]
fn the_header_is_current() {
    xtask::header::check().unwrap();
}

#[test]
fn programs_built_against_any_release_still_run() {
    xtask::abi::check().unwrap();
}

/// Each declaration of the last release in turn is taken away.
#[test]
fn whatever_a_release_has_is_missed() {
    let current = xtask::abi::current().unwrap();
    let releases = xtask::abi::releases(&xtask::abi::version(&current).unwrap()).unwrap();
    let release = xtask::read(releases.last().unwrap()).unwrap();
    assert!(release.lines().count() > 50);
    for line in release.lines() {
        let now: Vec<String> = release.lines().filter(|kept| *kept != line).map(String::from).collect();
        let message = xtask::abi::compare(&release, &now).unwrap_err();
        assert!(message.ends_with(line), "{message}");
    }
}

#[test]
fn a_recorded_release_is_not_written_over() {
    assert!(xtask::abi::record("1.0").unwrap_err().contains("do not change"));
    assert!(xtask::abi::record("0.9").unwrap_err().contains("TCRT_ABI_VERSION"));
}
