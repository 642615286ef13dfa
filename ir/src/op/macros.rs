//! The macro behind the list of ops.

macro_rules! ops {
    ($(
        $(#[$doc:meta])*
        $Variant:ident $name:literal
        ($($operand:ident: $Operand:ty),*)
        {$($attr:ident: $Attr:ty $(= $default:expr)?),*}
    )*) => {
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            $($(#[$doc])* $Variant { $($operand: $Operand,)* $($attr: $Attr,)* },)*
        }

        impl Op {
            pub const NAMES: &[&str] = &[$($name),*];

            pub fn name(&self) -> &'static str {
                match self { $(Op::$Variant { .. } => $name,)* }
            }

            /// Calls `f` with each value among the operands, in order.
            pub fn operands(&self, f: &mut dyn FnMut(Value)) {
                match self {
                    $(Op::$Variant { $($operand,)* .. } => { $(field::Operand::values($operand, f);)* let _ = f; })*
                }
            }

            /// Replaces each value among the operands.
            pub fn map_operands(&mut self, f: &mut dyn FnMut(Value) -> Value) {
                match self {
                    $(Op::$Variant { $($operand,)* .. } => { $(field::Operand::map($operand, f);)* let _ = f; })*
                }
            }

            /// Calls `f` with each weight among the operands, in order.
            pub fn weights<'a>(&'a self, f: &mut dyn FnMut(&'a Weight)) {
                match self {
                    $(Op::$Variant { $($operand,)* .. } => { $(field::Operand::weights($operand, f);)* let _ = f; })*
                }
            }

            /// The first attribute whose value no op can have.
            pub(crate) fn bad_attribute(&self) -> Option<&'static str> {
                match self {
                    $(Op::$Variant { $($attr,)* .. } => {
                        $(if !field::Attribute::is_sane($attr) { return Some(stringify!($attr)); })*
                        None
                    })*
                }
            }

            pub(crate) fn print(&self) -> String {
                let mut list = field::Printer::new(self.name());
                match self {
                    $(Op::$Variant { $($operand,)* $($attr,)* } => {
                        $(field::Operand::print($operand, stringify!($operand), &mut list);)*
                        $(field::print_attribute($attr, stringify!($attr), ops!(@default $($default)?), &mut list);)*
                    })*
                }
                list.finish()
            }

            /// Reads operands and attributes; `None` where no op has this name.
            pub(crate) fn parse(
                name: &str,
                parser: &mut crate::parse::Parser,
            ) -> Option<Result<Op, crate::error::ParseError>> {
                match name {
                    $($name => Some((|| {
                        $(let $operand = field::Operand::parse(stringify!($operand), parser)?;)*
                        let names: &[&str] = &[$(stringify!($attr)),*];
                        let mut attributes = parser.attributes(names)?;
                        $(let $attr = attributes.take(stringify!($attr), ops!(@default $($default)?))?;)*
                        let _ = &mut attributes;
                        Ok(Op::$Variant { $($operand,)* $($attr,)* })
                    })()),)*
                    _ => None,
                }
            }

            /// An op with arbitrary operands and attributes, for the tests of the text form.
            #[cfg(test)]
            pub(crate) fn random(rng: &mut crate::print::tests::Rng) -> Op {
                let name = Op::NAMES[rng.below(Op::NAMES.len() as u32) as usize];
                match name {
                    $($name => Op::$Variant {
                        $($operand: field::Random::random(rng),)*
                        $($attr: field::Random::random(rng),)*
                    },)*
                    _ => unreachable!("a name of the list"),
                }
            }
        }
    };
    (@default) => { None };
    (@default $default:expr) => { Some($default) };
}
