//! What operands and attributes have in common: how they print, parse and hold values.

use crate::error::ParseError;
use crate::graph::Value;
use crate::parse::Parser;
use crate::weight::Weight;

/// Collects `name operand, operand, key = operand {key = value}`.
pub(crate) struct Printer {
    text: String,
    operands: usize,
    attributes: Vec<String>,
}

impl Printer {
    pub(crate) fn new(name: &str) -> Printer {
        Printer { text: name.to_string(), operands: 0, attributes: Vec::new() }
    }

    fn operand(&mut self, operand: &str) {
        self.text += if self.operands == 0 { " " } else { ", " };
        self.text += operand;
        self.operands += 1;
    }

    pub(crate) fn finish(self) -> String {
        match &self.attributes[..] {
            [] => self.text,
            attributes => format!("{} {{{}}}", self.text, attributes.join(", ")),
        }
    }
}

/// Required operands print bare, in order; optional ones as `key = operand` where they are given.
pub(crate) trait Operand: Sized {
    fn print(&self, key: &str, to: &mut Printer);
    fn parse(key: &str, parser: &mut Parser) -> Result<Self, ParseError>;
    fn values(&self, _f: &mut dyn FnMut(Value)) {}
    fn map(&mut self, _f: &mut dyn FnMut(Value) -> Value) {}
    fn weights<'a>(&'a self, _f: &mut dyn FnMut(&'a Weight)) {}
}

impl Operand for Value {
    fn print(&self, _key: &str, to: &mut Printer) {
        to.operand(&self.to_string());
    }

    fn parse(_key: &str, parser: &mut Parser) -> Result<Value, ParseError> {
        parser.separator()?;
        parser.value()
    }

    fn values(&self, f: &mut dyn FnMut(Value)) {
        f(*self);
    }

    fn map(&mut self, f: &mut dyn FnMut(Value) -> Value) {
        *self = f(*self);
    }
}

impl Operand for Weight {
    fn print(&self, _key: &str, to: &mut Printer) {
        to.operand(&self.to_string());
    }

    fn parse(_key: &str, parser: &mut Parser) -> Result<Weight, ParseError> {
        parser.separator()?;
        parser.weight()
    }

    fn weights<'a>(&'a self, f: &mut dyn FnMut(&'a Weight)) {
        f(self);
    }
}

impl Operand for Option<Value> {
    fn print(&self, key: &str, to: &mut Printer) {
        if let Some(value) = self {
            to.operand(&format!("{key} = {value}"));
        }
    }

    fn parse(key: &str, parser: &mut Parser) -> Result<Self, ParseError> {
        if parser.optional(key) { parser.value().map(Some) } else { Ok(None) }
    }

    fn values(&self, f: &mut dyn FnMut(Value)) {
        self.iter().for_each(|value| f(*value));
    }

    fn map(&mut self, f: &mut dyn FnMut(Value) -> Value) {
        *self = Option::map(*self, f);
    }
}

impl Operand for Option<Weight> {
    fn print(&self, key: &str, to: &mut Printer) {
        if let Some(weight) = self {
            to.operand(&format!("{key} = {weight}"));
        }
    }

    fn parse(key: &str, parser: &mut Parser) -> Result<Self, ParseError> {
        if parser.optional(key) { parser.weight().map(Some) } else { Ok(None) }
    }

    fn weights<'a>(&'a self, f: &mut dyn FnMut(&'a Weight)) {
        self.iter().for_each(f);
    }
}

pub(crate) trait Attribute: Sized + PartialEq {
    fn print(&self) -> String;
    /// `None` where the text is no such attribute.
    fn parse(text: &str) -> Option<Self>;
    fn is_sane(&self) -> bool {
        true
    }
}

/// Attributes that have their default value are left out.
pub(crate) fn print_attribute<A: Attribute>(attribute: &A, key: &str, default: Option<A>, to: &mut Printer) {
    if default.as_ref() != Some(attribute) {
        to.attributes.push(format!("{key} = {}", attribute.print()));
    }
}

impl Attribute for u32 {
    fn print(&self) -> String {
        self.to_string()
    }

    fn parse(text: &str) -> Option<u32> {
        text.parse().ok()
    }
}

/// Given only where it is not `None`, which is therefore its default.
impl Attribute for Option<u32> {
    fn print(&self) -> String {
        self.map_or_else(|| "none".to_string(), |value| value.to_string())
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Some)
    }

    fn is_sane(&self) -> bool {
        *self != Some(0)
    }
}

/// Prints the shortest decimal that reads back as the same number.
impl Attribute for f32 {
    fn print(&self) -> String {
        format!("{self:?}")
    }

    fn parse(text: &str) -> Option<f32> {
        text.parse().ok()
    }

    fn is_sane(&self) -> bool {
        self.is_finite()
    }
}

#[cfg(test)]
pub(crate) use random::Random;

#[cfg(test)]
mod random {
    use super::{Value, Weight};
    use crate::print::tests::Rng;
    use crate::types::{Dtype, Quant, Scheme, Type};

    pub(crate) trait Random {
        fn random(rng: &mut Rng) -> Self;
    }

    impl Random for u32 {
        fn random(rng: &mut Rng) -> u32 {
            rng.next() as u32 >> rng.below(32)
        }
    }

    impl Random for f32 {
        fn random(rng: &mut Rng) -> f32 {
            let any = f32::from_bits(rng.next() as u32);
            if any.is_finite() { any } else { 1.0 }
        }
    }

    impl Random for Value {
        fn random(rng: &mut Rng) -> Value {
            Value(rng.below(1000))
        }
    }

    impl Random for Weight {
        fn random(rng: &mut Rng) -> Weight {
            let scheme = Scheme::ALL[rng.below(Scheme::ALL.len() as u32) as usize];
            let quant = Quant { bits: rng.below(9) as u8, group: Random::random(rng), scheme };
            let dtypes = [Dtype::F32, Dtype::F16, Dtype::Bf16, Dtype::Int(quant)];
            let part = |rng: &mut Rng| {
                let dtype = dtypes[rng.below(4) as usize];
                let matrix = Weight::matrix("layers.0.a_b-c/$", dtype, Random::random(rng), Random::random(rng));
                if rng.below(2) == 0 { matrix } else { Weight::new("v", Type { shape: vec![], ..Type::vector(1) }) }
            };
            let parts: Vec<Weight> = (0..=rng.below(3)).map(|_| part(rng)).collect();
            Weight::concat_rows(&parts)
        }
    }

    impl<T: Random> Random for Option<T> {
        fn random(rng: &mut Rng) -> Option<T> {
            (rng.below(2) == 0).then(|| T::random(rng))
        }
    }
}
