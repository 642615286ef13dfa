//! The user's browser.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::thread;

use tcrt_cli::output::note;

/// Opens the page that is served at an address; says so where it cannot, since the page is there all the same.
pub fn open(address: SocketAddr) {
    let url = url(address);
    if !has_screen() {
        note(format_args!("no screen here: open {url} in a browser"));
        return;
    }
    let (program, arguments) = opener();
    let mut command = Command::new(program);
    command.args(arguments).arg(&url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Some openers end when the browser does.
    thread::spawn(move || {
        if !command.status().is_ok_and(|status| status.success()) {
            note(format_args!("{program} could not open a browser: open {url} yourself"));
        }
    });
}

/// Where every network is listened at, a browser on this machine asks this machine.
fn url(address: SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}/", SocketAddr::new(host, address.port()))
}

/// Without a screen, what opens pages may take a browser for terminals, which would take this terminal.
fn has_screen() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(any(target_os = "macos", windows))
        || ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "WSL_DISTRO_NAME"].into_iter().any(set)
}

fn opener() -> (&'static str, &'static [&'static str]) {
    if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        ("rundll32", &["url.dll,FileProtocolHandler"])
    } else {
        ("xdg-open", &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_opened_where_this_machine_finds_it() {
        let of = |address: &str| url(address.parse().unwrap());
        assert_eq!(of("127.0.0.1:5000"), "http://127.0.0.1:5000/");
        assert_eq!(of("0.0.0.0:80"), "http://127.0.0.1:80/");
        assert_eq!(of("[::]:80"), "http://[::1]:80/");
        assert_eq!(of("192.168.1.2:5000"), "http://192.168.1.2:5000/");
    }
}
