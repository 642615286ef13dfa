use super::*;
use crate::layout::{Values, matrix_bytes, padded_cols};

fn noise(seed: &mut u32) -> u32 {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *seed >> 16
}

#[test]
fn floats_come_back() {
    let (rows, cols) = (19, 33);
    let mut seed = 1;
    // Multiples of 1/8 below 8 are exact in every float kind.
    let values: Vec<Vec<f32>> =
        (0..rows).map(|_| (0..cols).map(|_| (noise(&mut seed) % 64) as f32 / 8.0).collect()).collect();
    for kind in [Kind::F32, Kind::F16, Kind::Bf16] {
        let mut data = vec![0xff; matrix_bytes(kind, rows, cols, 0)];
        let size = block_bytes(kind, cols, 0);
        for (rows, out) in values.chunks(BLOCK_ROWS).zip(data.chunks_mut(size)) {
            let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            pack_float_block(kind, &rows, out);
        }
        let mut out = vec![f32::NAN; cols];
        for (r, row) in values.iter().enumerate() {
            unpack_row(kind, 0, cols, &data, r, &mut out);
            assert_eq!(&out, row, "{kind:?} row {r}");
        }
        unpack_row(kind, 0, cols, &data, rows, &mut out);
        assert!(out.iter().all(|v| *v == 0.0), "{kind:?}: a padding row is zero");
    }
}

/// A row of noise: every number that the kind has, and scales that f16 holds.
#[derive(Default)]
struct Row {
    q: Vec<i8>,
    scales: Vec<f32>,
    mins: Vec<f32>,
    sub_scales: Vec<i8>,
    sub_mins: Vec<i8>,
}

impl Row {
    fn noise(kind: Kind, group: usize, cols: usize, seed: &mut u32) -> Row {
        let format = kind.format().unwrap();
        let (groups, subs) = (groups(kind, cols, group), sub_scales(kind, cols));
        let halves = |count, seed: &mut u32| (0..count).map(|_| noise(seed) as i16 as f32 / 64.0 % 8.0).collect();
        let bytes = |count, seed: &mut u32| (0..count).map(|_| noise(seed) as i8).collect();
        let minima = if format.min { (groups, subs) } else { (0, 0) };
        Row {
            q: (0..cols).map(|_| (noise(seed) & ((1 << format.bits) - 1)) as i8).collect(),
            scales: halves(groups, seed),
            mins: halves(minima.0, seed),
            sub_scales: (0..subs).map(|_| format.sub_scale(noise(seed) as i8 as f32)).collect(),
            sub_mins: bytes(minima.1, seed),
        }
    }

    fn view(&self) -> QuantizedRow<'_> {
        let Row { q, scales, mins, sub_scales, sub_mins } = self;
        QuantizedRow { q, scales, mins, sub_scales, sub_mins }
    }

    /// The layout's formula.
    fn weights(&self, format: Format, group: usize) -> Vec<f32> {
        let mut weights = vec![0.0; self.q.len()];
        format.values(&self.q, |i, value| {
            let sub = |subs: &[i8]| i.checked_div(format.sub).map_or(1.0, |i| f32::from(subs[i]));
            let min = self.mins.get(i / group).map_or(0.0, |min| min * sub(&self.sub_mins));
            weights[i] = self.scales[i / group] * sub(&self.sub_scales) * value as f32 + min;
        });
        weights
    }
}

#[test]
fn quantized_values_come_back() {
    for kind in Kind::ALL {
        let Some(format) = kind.format() else { continue };
        for (group, rows, cols) in [(32, 17, 172), (192, 5, 172), (64, 3, 33), (128, 20, 200), (256, 16, 576)] {
            let mut seed = kind as u32;
            let all: Vec<Row> = (0..rows).map(|_| Row::noise(kind, group, cols, &mut seed)).collect();
            let mut data = vec![0xff; matrix_bytes(kind, rows, cols, group)];
            for (rows, out) in all.chunks(BLOCK_ROWS).zip(data.chunks_mut(block_bytes(kind, cols, group))) {
                let views: Vec<QuantizedRow> = rows.iter().map(Row::view).collect();
                pack_quantized_block(kind, group, &views, out);
            }
            let mut out = vec![f32::NAN; cols];
            for (r, row) in all.iter().enumerate() {
                unpack_row(kind, group, cols, &data, r, &mut out);
                assert_eq!(out, row.weights(format, group), "{kind:?} g{group} row {r}");
            }
            for r in rows..rows.next_multiple_of(BLOCK_ROWS) {
                unpack_row(kind, group, cols, &data, r, &mut out);
                assert!(out.iter().all(|v| *v == 0.0), "{kind:?}: a padding row is zero");
            }
        }
    }
}

/// One row's numbers 0, 1, 2, …; the bytes of row 3 are the layout's text worked out by hand.
#[test]
fn bytes_are_where_the_layout_says() {
    let bytes_of = |kind: Kind, q: fn(usize) -> u8, r: usize| {
        let format = kind.format().unwrap();
        let q: Vec<i8> = (0..32).map(|i| q(i) as i8).collect();
        let subs: Vec<i8> = match format.has_trellis() {
            true => vec![SUB_SCALES[5]],
            false => (0..format.subs() as i8).map(|i| 5 + i).collect(),
        };
        let sub_mins: Vec<i8> = subs.iter().map(|sub| -sub).collect();
        let minima: (&[f32], &[i8]) = if format.min { (&[-2.0], &sub_mins) } else { (&[], &[]) };
        let row = QuantizedRow { q: &q, scales: &[1.0], mins: minima.0, sub_scales: &subs, sub_mins: minima.1 };
        let mut out = vec![0xee; block_bytes(kind, 32, 32)];
        let mut rows = [QuantizedRow { q: &[0; 32], ..row }; BLOCK_ROWS];
        rows[r] = row;
        pack_quantized_block(kind, 32, &rows, &mut out);
        assert_eq!(out[2 * r..2 * r + 2], [0x00, 0x3c], "{kind:?}: the scale");
        (out[format.header_bytes()..].to_vec(), format)
    };
    let at = |v: usize, r: usize| v * 64 + 4 * r..v * 64 + 4 * r + 4;

    let (step, _) = bytes_of(Kind::I8, |i| i as u8, 3);
    assert_eq!(step[at(2, 3)], [8, 9, 10, 11]);
    let (step, _) = bytes_of(Kind::I4, |i| i as u8 % 16, 3);
    assert_eq!(step[at(1, 3)], [8 | 12 << 4, 9 | 13 << 4, 10 | 14 << 4, 11 | 15 << 4]);
    let (step, _) = bytes_of(Kind::I2, |i| (i / 4 % 4) as u8, 3);
    assert_eq!(step[at(0, 3)], [0b11_10_01_00; 4]);
    // Inputs 4..8 have the third bit, inputs 0..4 the low two.
    let (step, _) = bytes_of(Kind::I3, |i| if i < 4 { 3 } else { 4 * u8::from(i < 8) }, 3);
    assert_eq!((&step[at(0, 3)], &step[at(1, 3)], &step[at(2, 3)]), (&[3; 4][..], &[0; 4][..], &[2; 4][..]));
    let (step, format) = bytes_of(Kind::K6, |i| i as u8 + 32, 3);
    assert_eq!((step[3], step[16 + 3], format.sub_bytes()), (5, 6, 32), "two sub-scales a row");
    assert_eq!(step[32..][at(3, 3)], [8 | 12 << 4, 9 | 13 << 4, 10 | 14 << 4, 11 | 15 << 4]);
    assert_eq!(step[32 + 4 * 64..][at(0, 3)], [0b10_10_10_10; 4]);
    let (step, format) = bytes_of(Kind::K2, |_| 0, 3);
    assert_eq!([step[3], step[19], step[35] as i8 as u8, step[51]], [5, 6, -5i8 as u8, -6i8 as u8]);
    assert_eq!(format.sub_bytes(), 64);
    // Low bits first, in a plane of one bit; then the others.
    for r in [3, 11] {
        let (step, format) = bytes_of(Kind::T3, |i| if i < 4 { 7 } else { u8::from(i < 8) }, r);
        assert_eq!((format.sub_bytes(), step[..8].to_vec()), (8, vec![0x55; 8]), "two rows in a byte");
        let numbers = &step[8..];
        assert_eq!(
            (&numbers[at(0, r)], &numbers[at(1, r)], &numbers[at(2, r)]),
            (&[3; 4][..], &[3; 4][..], &[0; 4][..])
        );
    }
}

#[test]
fn kinds_are_what_their_names_say() {
    for (i, kind) in Kind::ALL.into_iter().enumerate() {
        assert_eq!((kind as usize, Kind::from_name(kind.name())), (i, Some(kind)));
        let Some(format) = kind.format() else { continue };
        assert_eq!(kind.name()[1..2].parse(), Ok(format.bits));
        assert_eq!(format.planes().map(|plane| plane.width).sum::<usize>(), format.bits);
        assert_eq!(format.planes().map(|plane| plane.bytes().len()).sum::<usize>(), format.number_bytes());
        if let Values::Trellis(table) = format.values {
            let table = &table[..2 << format.bits];
            assert!(table.is_sorted() && table.iter().zip(table.iter().rev()).all(|(a, b)| a + b == 0), "{kind:?}");
            continue;
        }
        let nearest = (0..=255u8).take(1 << format.bits).map(|q| format.value(q).abs()).min();
        assert_eq!(Some(format.value(format.zero()).abs()), nearest.filter(|_| !format.min).or(Some(0)), "{kind:?}");
        if let Values::Table(table) = format.values {
            assert!(table[..1 << format.bits].is_sorted() && table[0] == -127, "{kind:?}");
        }
    }
    assert_eq!(padded_cols(33), 64);
}

#[test]
fn streams_have_each_block_once() {
    let (kind, cols) = (Kind::F16, 32);
    let size = block_bytes(kind, cols, 0);
    for count in [0, 1, 3, 4, 7, 10] {
        let data: Vec<u8> = (0..count * size).map(|i| (i / size) as u8).collect();
        let (blocks, mut turns, mut seen) = (Blocks::new(kind, 0, cols, &data), 0, Vec::new());
        for (numbers, together) in blocks.in_streams::<4>() {
            turns += usize::from(together == 4);
            for number in &numbers[..together] {
                let bytes = blocks.get(*number).bytes;
                assert!(bytes.len() == size && bytes.iter().all(|byte| usize::from(*byte) == *number));
                seen.push(*number);
            }
        }
        seen.sort_unstable();
        assert!(turns == count / 4 && seen.into_iter().eq(0..count), "{count} blocks");
    }
}
