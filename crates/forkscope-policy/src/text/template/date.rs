//! The date that a template may ask for, by `strftime_now`.
//!
//! A prompt that changes from day to day cannot be audited twice, so the date
//! is fixed by the caller and never the clock. Default: 2024-07-26, the day that the
//! templates which ask for a date say when they are given none.

/// A day of the proleptic Gregorian calendar; the time of day is midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Default for Date {
    fn default() -> Self {
        Self {
            year: 2024,
            month: 7,
            day: 26,
        }
    }
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
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

impl Date {
    /// A date; `None` if the calendar has no such day.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let date = Self { year, month, day };
        let known = (1..=9999).contains(&year) && (1..=12).contains(&month);
        (known && day >= 1 && day <= date.days_in_month()).then_some(date)
    }

    /// Reads `2024-07-26`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let date = Self::new(
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
        )?;
        parts.next().is_none().then_some(date)
    }

    fn is_leap(self) -> bool {
        self.year.is_multiple_of(4)
            && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400))
    }

    fn days_in_month(self) -> u8 {
        match self.month {
            4 | 6 | 9 | 11 => 30,
            2 if self.is_leap() => 29,
            2 => 28,
            _ => 31,
        }
    }

    /// 1 = the first of January.
    fn day_of_year(self) -> u16 {
        let before: u16 = (1..self.month)
            .map(|month| u16::from(Self { month, ..self }.days_in_month()))
            .sum();
        before + u16::from(self.day)
    }

    /// 0 = Sunday.
    fn weekday(self) -> usize {
        let years = u32::from(self.year) - 1;
        let days = 365 * years + years / 4 - years / 100 + years / 400;
        // 0001-01-01 was a Monday.
        ((days + u32::from(self.day_of_year())) % 7) as usize
    }

    /// Python's `strftime` for the directives that dates need.
    pub(super) fn strftime(self, format: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = format.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut directive = rest.next();
            let bare = directive == Some('-');
            if bare {
                directive = rest.next();
            }
            let field = directive.and_then(|d| self.field(d));
            let Some(field) = field else {
                return Err(format!("strftime_now: no directive in {format:?} at its %"));
            };
            let bare_field = field.trim_start_matches('0');
            out.push_str(match (bare, bare_field) {
                (false, _) => &field,
                (true, "") => "0",
                (true, bare_field) => bare_field,
            });
        }
        Ok(out)
    }

    fn field(self, directive: char) -> Option<String> {
        let month = MONTHS.get(usize::from(self.month).checked_sub(1)?)?;
        let day = DAYS.get(self.weekday())?;
        Some(match directive {
            'Y' => format!("{:04}", self.year),
            'y' => format!("{:02}", self.year % 100),
            'm' => format!("{:02}", self.month),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'j' => format!("{:03}", self.day_of_year()),
            'B' => (*month).to_owned(),
            'b' | 'h' => month.chars().take(3).collect(),
            'A' => (*day).to_owned(),
            'a' => day.chars().take(3).collect(),
            'w' => self.weekday().to_string(),
            'F' => format!("{:04}-{:02}-{:02}", self.year, self.month, self.day),
            'H' | 'M' | 'S' => "00".to_owned(),
            'I' => "12".to_owned(),
            'p' => "AM".to_owned(),
            'T' | 'X' => "00:00:00".to_owned(),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_as_python_writes_them() {
        let date = Date::parse("2024-07-26").unwrap();
        assert_eq!(date.strftime("%d %b %Y").unwrap(), "26 Jul 2024");
        assert_eq!(
            date.strftime("%A, %B %-d, %Y (%j) 100%%").unwrap(),
            "Friday, July 26, 2024 (208) 100%"
        );
        assert_eq!(
            Date::parse("2000-02-29")
                .unwrap()
                .strftime("%a %F")
                .unwrap(),
            "Tue 2000-02-29"
        );
        assert_eq!(
            Date::parse("0001-01-01").unwrap().strftime("%A").unwrap(),
            "Monday"
        );
        assert!(Date::parse("2023-02-29").is_none());
        assert!(Date::parse("2023-13-01").is_none());
        assert!(date.strftime("%Q").is_err());
        assert!(date.strftime("%").is_err());
    }
}
