use tc_kernels::layout::{Format, Kind, Values};
use tc_kernels::pack::{pack_quantized_block, unpack_row};

use super::*;
use crate::checkpoint::Encoding;
use crate::testing::{noise, stored, tensor};

fn quantized_kinds() -> impl Iterator<Item = (Kind, Format)> {
    Kind::ALL.into_iter().filter_map(|kind| Some((kind, kind.format()?)))
}

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

/// The farthest that a value of -1..1 may be from its point: half the widest gap, or what one end does not reach where the other
/// has the largest value; a factor of 8 bits adds half of its last bit.
fn bound(format: Format) -> f32 {
    if let Values::Trellis(table) = format.values {
        // Of two levels that follow each other in a subset, and the one that lies between in the other subset, one is to be had.
        let levels = &table[..2 << format.bits];
        let gap = levels.windows(3).map(|three| f32::from(three[2]) - f32::from(three[0])).fold(0.0, f32::max);
        return gap / f32::from(levels[levels.len() - 1]);
    }
    let mut points: Vec<f32> = (0..1u32 << format.bits).map(|q| format.value(q as u8) as f32).collect();
    points.sort_by(f32::total_cmp);
    let (low, high) = (points[0], points[points.len() - 1]);
    let reach = if format.min { high - low } else { high.max(-low) };
    let gap = points.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f32::max) / 2.0;
    let missed = if format.min || format.values == Values::Signed { 0.0 } else { reach - high.min(-low) };
    let span = if format.min { 2.0 } else { 1.0 };
    1.004 * span * gap.max(missed) / reach + if format.sub > 0 { 1.0 / 127.0 } else { 1e-4 }
}

#[test]
fn errors_are_small_and_a_second_time_changes_nothing() {
    for (kind, format) in quantized_kinds() {
        for (cols, group) in [(32, 32), (40, 32), (172, 64), (288, 288), (100, 128)] {
            if format.has_trellis() && cols % 32 != 0 {
                continue;
            }
            let weight = WeightType { kind, group };
            let values = noise(cols as u32, cols);
            let source = tensor("w", &[1, cols], &values);
            let once = through_a_block(&source, weight, 0);
            for (value, rounded) in values.iter().zip(&once) {
                assert!((value - rounded).abs() <= bound(format), "{kind:?} {cols} {group}: {value} {rounded}");
            }
            let twice = through_a_block(&tensor("w", &[1, cols], &once), weight, 0);
            // A part whose factor is small may have no value at an end of its points, by which it would be found again.
            if format.sub == 0 {
                assert_eq!(twice, once, "{kind:?} {cols} {group}");
            }
        }
    }
}

#[test]
fn constant_and_zero_rows() {
    for (kind, format) in quantized_kinds() {
        let weight = WeightType { kind, group: 32 };
        assert_eq!(through_a_block(&tensor("w", &[1, 64], &[0.0; 64]), weight, 0), [0.0; 64], "{kind:?}");
        for constant in [-0.75, 1e-3] {
            let values = through_a_block(&tensor("w", &[1, 32], &[constant; 32]), weight, 0);
            // A trellis has no row of one level.
            let near = if format.has_trellis() { 2.0 * bound(format) } else { 2e-3 };
            assert!(values.iter().all(|v| (v - constant).abs() < near * constant.abs() + 4e-6), "{kind:?}: {values:?}");
        }
    }
}

/// Its neighbours become what is near zero, and nothing else changes.
#[test]
fn a_huge_outlier_costs_its_own_group_only() {
    for (kind, format) in quantized_kinds() {
        let weight = WeightType { kind, group: 32 };
        let mut values = noise(3, 96);
        let alone = through_a_block(&tensor("w", &[1, 96], &values), weight, 0);
        values[40] = -60000.0;
        let with = through_a_block(&tensor("w", &[1, 96], &values), weight, 0);
        // A trellis goes on from the outlier's group: others' numbers may, but their scales do not.
        if !format.has_trellis() {
            assert_eq!((&with[..32], &with[64..]), (&alone[..32], &alone[64..]), "{kind:?}");
        }
        for i in (0..32).chain(64..96) {
            assert!((with[i] - values[i]).abs() <= bound(format), "{kind:?}: {}, not {}", with[i], values[i]);
        }
        // The scale of a trellis weighs the outlier's error against its neighbours'.
        let near = if format.has_trellis() { 0.4 } else { 0.01 };
        assert!((with[40] / -60000.0 - 1.0).abs() < near, "{kind:?}: {}", with[40]);
        assert!(with[32..64].iter().all(|value| value.is_finite() && value.abs() <= 60100.0), "{kind:?}");
        assert!((with[33] - values[33]).abs() <= 60000.0 * bound(format), "{kind:?}: {}", with[33]);
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
    for (kind, _) in quantized_kinds() {
        let mut quantizer = RowQuantizer::new(WeightType { kind, group: 32 });
        let mut read = |value: f32| {
            let mut values = vec![0.0; 64];
            values[33] = value;
            quantizer.read(&tensor("w", &[2, 32], &values), 1, &mut GridRow::default()).unwrap_err().to_string()
        };
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e30] {
            let message = read(value);
            assert!(message.contains("tensor w") && message.contains("row 1"), "{kind:?}: {message}");
        }
        assert!(read(1e30).contains("too large"), "{kind:?}");
    }
}

#[test]
fn q8_0_keeps_its_lowest_number() {
    let mut bytes = half::f16::from_f32(0.5).to_le_bytes().to_vec();
    bytes.extend([0x80; 32]);
    let source = stored("w", &[1, 32], Encoding::Q8_0, &bytes);
    let weight = WeightType { kind: Kind::I8, group: 32 };
    assert_eq!(through_a_block(&source, weight, 0), [-64.0; 32]);
}
