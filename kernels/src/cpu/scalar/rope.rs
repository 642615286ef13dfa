//! Rotary position embedding and the cache write.

use crate::abi::RopeTableArgs;
use crate::cpu::cached::{Element, RopeKv, each_element};

use super::norm::inverse_rms;

/// Angles are f32 products, as the frameworks that trained these models compute them.
pub fn rope_table(args: &RopeTableArgs, inv_freq: &[f32], position: u32, y: &mut [f32]) {
    let half = inv_freq.len();
    let dynamic = (args.dynamic_factor > 0.0 && position >= args.original).then(|| dynamic_theta(args, position));
    for (i, &frequency) in inv_freq.iter().enumerate() {
        let frequency = match dynamic {
            Some(theta) => theta.powf(-(i as f64) / half as f64) as f32,
            None => frequency,
        };
        let (sin, cos) = (position as f32 * frequency).sin_cos();
        y[i] = args.magnitude * cos;
        y[half + i] = args.magnitude * sin;
    }
}

fn dynamic_theta(args: &RopeTableArgs, position: u32) -> f64 {
    let (factor, d) = (f64::from(args.dynamic_factor), f64::from(2 * args.half));
    let stretch = factor * (f64::from(position) + 1.0) / f64::from(args.original) - (factor - 1.0);
    f64::from(args.theta) * stretch.powf(d / (d - 2.0))
}

pub fn rope_kv(token: RopeKv) {
    each_element!(token.kind(), E => rope_kv_as::<E>(token));
}

fn rope_kv_as<E: Element>(mut token: RopeKv) {
    let (head_dim, cos, sin) = (token.head_dim, token.cos, token.sin);
    for (x, y) in token.q.chunks(head_dim).zip(token.q_out.chunks_mut(head_dim)) {
        rotate(x, token.q_norm, token.eps, cos, sin, |i, value| y[i] = value);
    }
    let (k, v, k_norm, eps) = (token.k, token.v, token.k_norm, token.eps);
    let mut largest = 0f32;
    if E::SCALED {
        rotate(k, k_norm, eps, cos, sin, |_, value| largest = largest.max(value.abs()));
    }
    let inverse = token.scale_key::<E>(largest);
    rotate(k, k_norm, eps, cos, sin, |i, value| token.put_key(i, E::from_f32(value * inverse)));
    let inverse = token.scale_value::<E>(v.iter().fold(0.0, |most, value| most.max(value.abs())));
    for (out, value) in token.value_row::<E>().iter_mut().zip(v) {
        *out = E::from_f32(*value * inverse);
    }
}

/// `(a, b) = (x[i], x[half + i])` becomes `(a cos - b sin, b cos + a sin)`.
fn rotate(x: &[f32], norm: Option<&[f32]>, eps: f32, cos: &[f32], sin: &[f32], mut put: impl FnMut(usize, f32)) {
    let half = cos.len();
    let inverse = norm.map_or(1.0, |_| inverse_rms(x, eps));
    let value = |i: usize| norm.map_or(x[i], |w| x[i] * inverse * w[i]);
    for i in 0..half {
        let (a, b) = (value(i), value(half + i));
        put(i, a * cos[i] - b * sin[i]);
        put(half + i, b * cos[i] + a * sin[i]);
    }
}
