use tc_kernels::pack::{pack_quantized_block, unpack_row};

use super::*;
use crate::checkpoint::Encoding;
use crate::testing::{noise, stored, tensor};

const KINDS: [Kind; 3] = [Kind::I8, Kind::I4, Kind::I4Min];

/// The row as a kernel sees it after packing.
fn through_a_block(tensor: &Tensor, weight: WeightType, row: usize) -> Vec<f32> {
    let mut grid = GridRow::default();
    RowQuantizer::new(weight).read(tensor, row, &mut grid).unwrap();
    let (cols, group) = (tensor.cols(), weight.group as usize);
    let mut block = vec![0; tc_kernels::layout::block_bytes(weight.kind, cols, group)];
    pack_quantized_block(weight.kind, group, &[grid.view()], &mut block);
    let mut out = vec![0.0; cols];
    unpack_row(weight.kind, group, cols, &block, 0, &mut out);
    out
}

#[test]
fn errors_are_small_and_a_second_time_changes_nothing() {
    // Half a step, but a whole one for int4, where the largest value may be -8 and one of the other sign 7 at most.
    for (kind, bound) in [(Kind::I8, 0.5 / 127.0), (Kind::I4, 1.0 / 8.0), (Kind::I4Min, 1.0 / 15.0)] {
        for (cols, group) in [(32, 32), (40, 32), (172, 64), (288, 288), (100, 128)] {
            let weight = WeightType { kind, group };
            let values = noise(cols as u32, cols);
            let source = tensor("w", &[1, cols], &values);
            let once = through_a_block(&source, weight, 0);
            for (value, rounded) in values.iter().zip(&once) {
                assert!((value - rounded).abs() <= 1.004 * bound, "{kind:?} {cols} {group}: {value} {rounded}");
            }
            assert_eq!(through_a_block(&tensor("w", &[1, cols], &once), weight, 0), once, "{kind:?} {cols} {group}");
        }
    }
}

#[test]
fn constant_and_zero_rows() {
    for kind in KINDS {
        let weight = WeightType { kind, group: 32 };
        assert_eq!(through_a_block(&tensor("w", &[1, 64], &[0.0; 64]), weight, 0), [0.0; 64]);
        let constant = through_a_block(&tensor("w", &[1, 32], &[-0.75; 32]), weight, 0);
        assert!(constant.iter().all(|value| (value + 0.75).abs() < 1e-3), "{kind:?}");
    }
}

#[test]
fn one_sided_rows_use_all_of_int4() {
    let weight = WeightType { kind: Kind::I4, group: 32 };
    let values: Vec<f32> = (0..32).map(|i| (i % 9) as f32).collect();
    assert_eq!(through_a_block(&tensor("w", &[1, 32], &values), weight, 0), values);
}

#[test]
fn q4_0_is_carried_over_bit_for_bit() {
    let mut bytes = half::f16::from_f32(-0.3).to_le_bytes().to_vec();
    bytes.extend((0..16u8).map(|i| i | (15 - i) << 4));
    let source = stored("w", &[1, 32], Encoding::Q4_0, &bytes);
    let mut values = vec![0.0; 32];
    source.read_row(0, &mut values).unwrap();
    let weight = WeightType { kind: Kind::I4, group: 32 };
    assert!(is_on_grid(&source, weight));
    assert_eq!(through_a_block(&source, weight, 0), values);
}

#[test]
fn numbers_that_no_grid_holds_are_refused_by_name_and_row() {
    let weight = WeightType { kind: Kind::I8, group: 32 };
    let mut values = vec![0.0; 64];
    values[33] = f32::NAN;
    let read =
        |values: &[f32]| RowQuantizer::new(weight).read(&tensor("w", &[2, 32], values), 1, &mut GridRow::default());
    let message = read(&values).unwrap_err().to_string();
    assert!(message.contains("tensor w") && message.contains("row 1"), "{message}");
    values[33] = 1e30;
    let message = read(&values).unwrap_err().to_string();
    assert!(message.contains("tensor w") && message.contains("row 1") && message.contains("too large"), "{message}");
}

#[test]
fn a_row_with_the_number_that_int8_has_no_room_for_is_rounded_anew() {
    let mut bytes = half::f16::from_f32(0.5).to_le_bytes().to_vec();
    bytes.extend([0x80; 32]);
    let source = stored("w", &[1, 32], Encoding::Q8_0, &bytes);
    let weight = WeightType { kind: Kind::I8, group: 32 };
    let values = through_a_block(&source, weight, 0);
    assert!(values.iter().all(|value| (value + 64.0).abs() < 0.04), "{values:?}");
}
