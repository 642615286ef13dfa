//! Checkpoints that are well-formed but wrong: each is refused with the name of what is wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tc_tests::fixtures;
use tcc_core::checkpoint::{Checkpoint, GridRow, OpenOptions, Result, open};

/// Tensors to write: dtype, shape, bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn tensors_of(fixture: &str) -> Tensors {
    let bytes = std::fs::read(fixtures::directory().join(fixture).join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let entry =
        |(name, view): (String, TensorView)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
    file.tensors().into_iter().map(entry).collect()
}

/// What opening the fixture `hf` says once its tensors have been changed.
fn with_tensors(change: impl FnOnce(&mut Tensors)) -> Result<Checkpoint> {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = tensors_of("hf");
    change(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    let bytes = safetensors::serialize(views, None).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    std::fs::copy(fixtures::directory().join("hf/config.json"), folder.path().join("config.json")).unwrap();
    open(folder.path(), &OpenOptions::default())
}

fn refusal(change: impl FnOnce(&mut Tensors)) -> String {
    with_tensors(change).expect_err("is wrong").to_string()
}

const Q: &str = "model.layers.1.self_attn.q_proj.weight";

#[test]
fn tensors_must_be_those_of_the_config() {
    with_tensors(|_| {}).unwrap();
    let missing = refusal(|tensors| drop(tensors.remove(Q)));
    assert!(missing.contains("layers.1.q is missing"), "{missing}");

    let wrong_shape = refusal(|tensors| tensors.get_mut(Q).unwrap().1 = vec![8, 32]);
    assert!(wrong_shape.contains(Q) && wrong_shape.contains("[8, 32]"), "{wrong_shape}");
    let flat = refusal(|tensors| tensors.get_mut(Q).unwrap().1 = vec![256]);
    assert!(flat.contains(Q) && flat.contains("[256]"), "{flat}");
    let deep = refusal(|tensors| tensors.get_mut(Q).unwrap().1 = vec![4, 4, 16]);
    assert!(deep.contains(Q) && deep.contains("neither a vector nor a matrix"), "{deep}");
    let integers = refusal(|tensors| {
        let (dtype, _, _) = tensors.get_mut(Q).unwrap();
        *dtype = Dtype::I32;
    });
    assert!(integers.contains(Q) && integers.contains("int32"), "{integers}");

    let bias = "model.layers.0.self_attn.q_proj.bias";
    let surplus = refusal(|tensors| drop(tensors.insert(bias.to_string(), (Dtype::F32, vec![16], vec![0x3c; 64]))));
    assert!(surplus.contains(bias), "{surplus}");
    let lora = "model.layers.0.self_attn.q_proj.lora_A.weight";
    let unknown = refusal(|tensors| drop(tensors.insert(lora.to_string(), (Dtype::F32, vec![16], vec![0; 64]))));
    assert!(unknown.contains(lora), "{unknown}");
    let third = refusal(|tensors| {
        let norm = tensors["model.layers.1.input_layernorm.weight"].clone();
        tensors.insert("model.layers.2.input_layernorm.weight".to_string(), norm);
    });
    assert!(third.contains("model.layers.2.input_layernorm.weight"), "{third}");
}

#[test]
fn what_rope_precomputes_is_passed_over() {
    let name = "model.layers.0.self_attn.rotary_emb.inv_freq".to_string();
    let checkpoint = with_tensors(|tensors| drop(tensors.insert(name, (Dtype::F16, vec![2], vec![0; 4])))).unwrap();
    assert_eq!(checkpoint.tensors.len(), 21);
}

#[test]
fn a_number_that_is_none_is_named_with_its_place() {
    let checkpoint = with_tensors(|tensors| {
        let (_, _, bytes) = tensors.get_mut(Q).unwrap();
        bytes[4 * 18..4 * 19].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let checkpoint = checkpoint.unwrap();
    let errors: Vec<String> = checkpoint.tensors.values().filter_map(first_error).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("NaN") && errors[0].contains("row ") && errors[0].contains("model.safetensors"),
        "{errors:?}"
    );
}

fn first_error(tensor: &tcc_core::checkpoint::Tensor) -> Option<String> {
    let mut row = vec![0.0; tensor.cols()];
    (0..tensor.rows()).find_map(|at| tensor.read_row(at, &mut row).err()).map(|error| error.to_string())
}

/// A GGUF fixture, with the bytes after one of its tensors' names changed.
fn with_gguf(tensor: &str, change: impl FnOnce(&mut Vec<u8>, usize)) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let mut bytes = std::fs::read(fixtures::directory().join("mixed.gguf")).unwrap();
    let at = bytes.windows(tensor.len()).position(|window| window == tensor.as_bytes()).unwrap() + tensor.len();
    change(&mut bytes, at);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn gguf_error(path: &Path) -> String {
    let error = open(path, &OpenOptions::default()).expect_err("is wrong").to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    error
}

/// After a matrix's name: its count of dimensions (u32), two dimensions (u64), its type (u32), its offset (u64).
const TYPE_AT: usize = 4 + 16;
const OFFSET_AT: usize = TYPE_AT + 4;

fn offset(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at + OFFSET_AT..at + OFFSET_AT + 8].try_into().unwrap()) as usize
}

#[test]
fn gguf_tensors_must_not_overlap_nor_reach_beyond_the_file() {
    let (_folder, path) = with_gguf("blk.1.ffn_up.weight", |bytes, at| {
        let earlier = offset(bytes, at) as u64 - 32;
        bytes[at + OFFSET_AT..at + OFFSET_AT + 8].copy_from_slice(&earlier.to_le_bytes());
    });
    let error = gguf_error(&path);
    assert!(error.contains("overlap") && error.contains("blk.1.ffn_up.weight"), "{error}");
    let (_folder, path) = with_gguf("blk.1.ffn_up.weight", |bytes, at| {
        bytes[at + OFFSET_AT..at + OFFSET_AT + 8].copy_from_slice(&(u64::MAX - 31).to_le_bytes());
    });
    assert!(gguf_error(&path).contains("blk.1.ffn_up.weight"));
}

#[test]
fn gguf_types_that_are_not_read_are_named() {
    let (_folder, path) = with_gguf("blk.0.ffn_up.weight", |bytes, at| bytes[at + TYPE_AT] = 16);
    let error = gguf_error(&path);
    assert!(error.contains("blk.0.ffn_up.weight") && error.contains("IQ2_XXS"), "{error}");
}

#[test]
fn a_block_whose_scale_is_none_is_an_error_either_way_it_is_read() {
    let (_folder, path) = with_gguf("blk.0.attn_v.weight", |bytes, at| {
        // The last tensor, 16 rows of 8 blocks of Q8_0, ends with the file; that tells where data begin.
        let last = b"\0output.weight";
        let last_at = bytes.windows(last.len()).position(|window| window == last).unwrap() + last.len();
        let data = bytes.len() - 16 * 8 * 34 - offset(bytes, last_at);
        let block = data + offset(bytes, at);
        bytes[block..block + 2].copy_from_slice(&[0x00, 0x7e]);
    });
    let checkpoint = open(&path, &OpenOptions::default()).unwrap();
    let tensor = &checkpoint.tensors["layers.0.v"];
    let error = first_error(tensor).expect("has a NaN");
    assert!(error.contains("blk.0.attn_v.weight") && error.contains("model.gguf"), "{error}");
    let error = tensor.read_row_grid(0, &mut GridRow::default()).unwrap_err().to_string();
    assert!(error.contains("scale of NaN"), "{error}");
}

#[test]
fn an_index_cannot_reach_out_of_its_directory() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixtures::directory().join("hf/config.json"), folder.path().join("config.json")).unwrap();
    for name in ["../model.safetensors", "/etc/passwd", ".."] {
        let index = format!("{{\"weight_map\": {{\"model.norm.weight\": \"{name}\"}}}}");
        std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
        let error = open(folder.path(), &OpenOptions::default()).expect_err(name).to_string();
        assert!(error.contains("not a file of this directory"), "{error}");
    }
}
