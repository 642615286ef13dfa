//! `tcc chat`, at a terminal and in a pipeline.

mod pipes;
#[cfg(unix)]
mod screen;
#[cfg(unix)]
mod terminal;

/// A directory with `tiny.pte`, whose chat format is plain text.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let tcc = |args: &[&str]| {
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_tcc")).args(args).current_dir(&home).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    tcc(&["synth", "--shape", "tiny", "-o", "tiny"]);
    let config = home.path().join("tiny/config.json");
    let longer = std::fs::read_to_string(&config)
        .unwrap()
        .replace("\"max_position_embeddings\": 128", "\"max_position_embeddings\": 200000");
    assert!(longer.contains("200000"));
    std::fs::write(&config, longer).unwrap();
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
    std::fs::write(home.path().join("plain.jinja"), template).unwrap();
    tcc(&["export", "tiny", "-o", "tiny.pte", "--chat-template", "plain.jinja"]);
    home
}
