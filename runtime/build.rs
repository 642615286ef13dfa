//! Names the shared library after its C ABI, so that programs ask for that and not for a file.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux" || os == "android") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libtcrt.so.1");
    }
}
