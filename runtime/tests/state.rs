//! Sessions that fork, and sessions that are saved and go on later.

mod support;

use std::sync::Arc;
use support::toy::{SHAPE, Shape, Toy};
use tcrt::{EngineOptions, ErrorKind, KvType, Model, Session};

fn model(seed_vocab: usize) -> Arc<Model> {
    Model::from_bytes(&Toy::new(Shape { vocab: seed_vocab, ..SHAPE }).file(), "toy").unwrap()
}

fn options() -> EngineOptions {
    EngineOptions { threads: 1, chunk: 16, max_sequences: 3, context: 200, ..EngineOptions::default() }
}

fn session(model: &Arc<Model>) -> Session {
    Session::new(Arc::clone(model), &options()).unwrap()
}

fn prompt(len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| i * 7 % 40).collect()
}

fn saved(session: &Session) -> Vec<u8> {
    let mut state = Vec::new();
    session.save(&mut state).unwrap();
    assert_eq!(state.len(), session.state_bytes().unwrap());
    state
}

#[test]
fn forks_go_their_own_ways_from_a_common_past() {
    let model = model(40);
    let mut alone = session(&model);
    alone.prefill(&prompt(70)).unwrap();
    let expected = [3u32, 5].map(|token| {
        let logits = alone.decode(token).unwrap().to_vec();
        alone.rewind(70).unwrap();
        logits
    });
    let mut first = session(&model);
    let at_fork = first.prefill(&prompt(70)).unwrap().to_vec();
    let mut second = first.fork().unwrap();
    assert_eq!(second.tokens(), first.tokens());
    assert_eq!(first.decode(3).unwrap(), expected[0]);
    assert_eq!(second.last_logits().unwrap(), at_fork, "a fork has the logits of its past");
    assert_eq!(second.decode(5).unwrap(), expected[1]);
    assert_eq!(first.last_logits().unwrap(), expected[0], "the other's calls leave them alone");
    let third = second.fork().unwrap();
    let none = first.fork().err().unwrap();
    assert_eq!(none.kind, ErrorKind::LimitExceeded);
    drop((third, first));
    assert_eq!(second.fork().unwrap().tokens().len(), 71);
    second.rewind(70).unwrap();
    assert_eq!(second.last_logits().err().unwrap().kind, ErrorKind::InvalidArgument);
    assert_eq!(second.decode(3).unwrap(), expected[0]);
}

#[test]
fn forks_run_on_threads_of_their_own() {
    let model = model(40);
    let mut first = session(&model);
    first.prefill(&prompt(20)).unwrap();
    let sessions = [first.fork().unwrap(), first];
    let run = |mut session: Session| {
        std::thread::spawn(move || (0..40).map(|i| session.decode(i).unwrap()[0]).collect::<Vec<_>>())
    };
    let [a, b] = sessions.map(run).map(|thread| thread.join().unwrap());
    assert_eq!(a, b);
}

#[test]
fn a_saved_session_goes_on_where_it_was() {
    let model = model(40);
    for (len, kv_dtype) in [0, 1, 63, 64, 65, 130].into_iter().flat_map(|len| KvType::ALL.map(|kv| (len, kv))) {
        let session =
            |model: &Arc<Model>| Session::new(Arc::clone(model), &EngineOptions { kv_dtype, ..options() }).unwrap();
        let mut before = session(&model);
        if len > 0 {
            before.prefill(&prompt(len)).unwrap();
        }
        let state = saved(&before);
        let mut after = session(&model);
        after.prefill(&[1, 2, 3]).unwrap();
        after.restore(&state).unwrap();
        assert_eq!(after.tokens(), before.tokens());
        assert!(after.last_logits().is_err());
        assert_eq!(after.decode(9).unwrap(), before.decode(9).unwrap());
    }
}

#[test]
fn a_state_holds_nothing_that_was_forgotten() {
    let model = model(40);
    let mut rewound = session(&model);
    rewound.prefill(&prompt(100)).unwrap();
    rewound.rewind(30).unwrap();
    let mut short = session(&model);
    short.prefill(&prompt(30)).unwrap();
    assert_eq!(saved(&rewound), saved(&short));
}

#[test]
fn files_appear_whole() {
    let folder = std::env::temp_dir().join(format!("tcrt-state-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("one.session");
    let mut first = session(&model(40));
    first.prefill(&prompt(10)).unwrap();
    first.save_file(&path).unwrap();
    first.save_file(&path).unwrap();
    let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["one.session"]);
    let mut second = session(&model(40));
    second.restore_file(&path).unwrap();
    assert_eq!(second.tokens(), first.tokens());
    let error = first.save_file(&folder.join("no/such/folder")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Io);
    assert!(error.to_string().contains("no/such/folder: "), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_is_not_this_sessions_state_is_refused_and_changes_nothing() {
    let (one, other) = (model(40), model(48));
    let mut from = session(&one);
    from.prefill(&prompt(70)).unwrap();
    let state = saved(&from);
    let refuse = |session: &mut Session, state: &[u8]| {
        let before = session.tokens().to_vec();
        let error = session.restore(state).unwrap_err();
        assert_eq!(session.tokens(), before);
        (error.kind, error.to_string())
    };
    let mut to = session(&one);
    to.prefill(&[1, 2]).unwrap();
    for len in (0..state.len()).step_by(97).chain([state.len() - 1]) {
        assert_eq!(refuse(&mut to, &state[..len]).0, ErrorKind::InvalidFile);
    }
    for at in (0..state.len()).step_by(31) {
        let mut damaged = state.clone();
        damaged[at] ^= 0x41;
        refuse(&mut to, &damaged);
    }
    let mut huge = state.clone();
    huge[24..32].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(refuse(&mut to, &huge).0, ErrorKind::LimitExceeded);
    assert_eq!(refuse(&mut to, &[&state[..], &[0]].concat()).0, ErrorKind::InvalidFile);
    let mut newer = state.clone();
    newer[8] = 2;
    assert_eq!(refuse(&mut to, &newer).0, ErrorKind::Unsupported);
    assert_eq!(refuse(&mut session(&other), &state).1, "the session's state is of another model");
    let wide = EngineOptions { kv_dtype: KvType::F32, ..options() };
    let mut wide = Session::new(Arc::clone(&one), &wide).unwrap();
    assert_eq!(refuse(&mut wide, &state).1, "the session's state has a cache of f16, this session one of f32");
    let mut small = Session::new(Arc::clone(&one), &EngineOptions { context: 69, ..options() }).unwrap();
    assert_eq!(refuse(&mut small, &state).0, ErrorKind::LimitExceeded);
}
