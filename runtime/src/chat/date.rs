//! The date some formats print.

use crate::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Date {
    /// What Llama 3.1's template prints where nobody tells it the date.
    pub const DEFAULT: Self = Self { year: 2024, month: 7, day: 26 };

    pub fn new(year: u16, month: u8, day: u8) -> Result<Self> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if !(1000..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=days).contains(&day) {
            return Err(Error::invalid_argument(format!("{year}-{month}-{day} is not a date")));
        }
        Ok(Self { year, month, day })
    }

    pub(super) fn parts(self) -> (u16, u8, u8) {
        (self.year, self.month, self.day)
    }

    /// `strftime`, in English, for the directives that make up a date: `%d %m %b %B %y %Y %%`.
    pub fn format(self, format: &str) -> Result<String> {
        let month = MONTHS[usize::from(self.month) - 1];
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some('d') => out.push_str(&format!("{:02}", self.day)),
                Some('m') => out.push_str(&format!("{:02}", self.month)),
                Some('b') => out.push_str(&month[..3]),
                Some('B') => out.push_str(month),
                Some('y') => out.push_str(&format!("{:02}", self.year % 100)),
                Some('Y') => out.push_str(&self.year.to_string()),
                Some('%') => out.push('%'),
                _ => return Err(Error::invalid_file(format!("the date format {format:?} is not one of a plain date"))),
            }
        }
        Ok(out)
    }
}
