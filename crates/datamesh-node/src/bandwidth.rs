//! How many bytes a second the node may move, by the day of the week and the time of day.
//!
//! A schedule has rules with `;` between them: days, a time, and what counts then, for instance
//! `mon-fri 08:00-18:00 up=1MiB down=4MiB; sat,sun 22:00-06:00 metered`. Days may be `daily`. A
//! time that ends before it begins ends on the next day. The first rule that fits counts; where
//! none does, the usual limits do. Times are those of the machine's zone.

use datamesh_net::Bandwidth;

use crate::config::parse_size;

/// Least rate in bytes a second: below it no shard would move before its deadline.
const RATE_MIN: u64 = 64 << 10;

/// Most rules of a schedule.
const RULES_MAX: usize = 64;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const MINUTES_A_DAY: u16 = 24 * 60;

/// What counts at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) bandwidth: Bandwidth,
    /// Bytes cost money: only what cannot wait is moved.
    pub(crate) metered: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// From Monday.
    days: [bool; 7],
    /// In minutes since midnight, at most 24:00.
    from: u16,
    until: u16,
    terms: Terms,
}

/// What counts when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    usual: Terms,
    rules: Vec<Rule>,
}

/// A rate; nothing for no limit.
pub(crate) fn parse_rate(text: &str) -> Result<Option<u64>, String> {
    match text {
        "" => Ok(None),
        text => match parse_size(text)? {
            rate if rate < RATE_MIN => {
                Err(format!("it must be at least {} a second", bytesize::ByteSize(RATE_MIN)))
            }
            rate => Ok(Some(rate)),
        },
    }
}

fn parse_day(text: &str) -> Result<usize, String> {
    DAYS.iter()
        .position(|day| *day == text)
        .ok_or_else(|| format!("\"{text}\" is no day; days are {} and daily", DAYS.join(", ")))
}

fn parse_days(text: &str) -> Result<[bool; 7], String> {
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            _ if part == "daily" => (0, 6),
            Some((first, last)) => (parse_day(first)?, parse_day(last)?),
            None => (parse_day(part)?, parse_day(part)?),
        };
        // From the first to the last day, over the end of the week where need be.
        let count = (last + 7 - first) % 7;
        for day in 0..=count {
            days[(first + day) % 7] = true;
        }
    }
    Ok(days)
}

fn parse_minute(text: &str) -> Result<u16, String> {
    let wrong = || format!("\"{text}\" is no time of day such as 08:30");
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let (hours, minutes): (u16, u16) =
        (hours.parse().map_err(|_| wrong())?, minutes.parse().map_err(|_| wrong())?);
    match (hours, minutes) {
        (0..24, 0..60) | (24, 0) => Ok(hours * 60 + minutes),
        _ => Err(wrong()),
    }
}

fn parse_rule(text: &str) -> Result<Rule, String> {
    let mut words = text.split_whitespace();
    let (Some(days), Some(time)) = (words.next(), words.next()) else {
        return Err(format!(
            "\"{text}\" needs days and a time, as in: mon-fri 08:00-18:00 up=1MiB"
        ));
    };
    let (from, until) =
        time.split_once('-').ok_or_else(|| format!("\"{time}\" is no time such as 08:00-18:00"))?;
    let (from, until) = (parse_minute(from)?, parse_minute(until)?);
    if from == until {
        return Err(format!("\"{time}\" is empty; a whole day is 00:00-24:00"));
    }
    let mut terms = Terms::default();
    for word in words {
        match word.split_once('=') {
            Some(("up", rate)) => terms.bandwidth.up = parse_rate(rate)?,
            Some(("down", rate)) => terms.bandwidth.down = parse_rate(rate)?,
            None if word == "metered" => terms.metered = true,
            _ => return Err(format!("\"{word}\" is none of up=…, down=…, metered")),
        }
    }
    Ok(Rule { days: parse_days(days)?, from, until, terms })
}

impl Plan {
    /// The plan of a schedule's text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(schedule: &str, usual: Terms) -> Result<Self, String> {
        let rules: Vec<Rule> = schedule
            .split(';')
            .map(str::trim)
            .filter(|rule| !rule.is_empty())
            .map(parse_rule)
            .collect::<Result<_, _>>()?;
        if rules.len() > RULES_MAX {
            return Err(format!("a schedule has at most {RULES_MAX} rules"));
        }
        Ok(Self { usual, rules })
    }

    /// What counts on a day, 0 for Monday, so many minutes after midnight.
    fn at(&self, day: usize, minute: u16) -> Terms {
        let yesterday = (day + 6) % 7;
        let fits = |rule: &&Rule| {
            if rule.from < rule.until {
                rule.days[day] && (rule.from..rule.until).contains(&minute)
            } else {
                let evening = rule.days[day] && (rule.from..MINUTES_A_DAY).contains(&minute);
                evening || rule.days[yesterday] && minute < rule.until
            }
        };
        self.rules.iter().find(fits).map_or(self.usual, |rule| rule.terms)
    }

    /// What counts now.
    pub(crate) fn now(&self) -> Terms {
        if self.rules.is_empty() {
            return self.usual;
        }
        let now = jiff::Zoned::now();
        let day = usize::try_from(now.weekday().to_monday_zero_offset()).unwrap_or(0);
        let minute = u16::try_from(i16::from(now.hour()) * 60 + i16::from(now.minute()));
        self.at(day % 7, minute.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn the_first_rule_that_fits_counts_and_nights_end_on_the_next_day() {
        let usual =
            Terms { bandwidth: Bandwidth { up: Some(7 << 20), down: None }, ..Terms::default() };
        let text = "mon-fri 08:00-18:00 up=1MiB down=4MiB; fri,sat 22:00-06:00 metered; \
                    sun-mon 00:00-24:00 up=2MiB";
        let plan = Plan::parse(text, usual).unwrap();
        let work = Terms {
            bandwidth: Bandwidth { up: Some(1 << 20), down: Some(4 << 20) },
            metered: false,
        };
        assert_eq!(plan.at(0, 8 * 60), work);
        assert_eq!(plan.at(4, 17 * 60 + 59), work);
        assert_eq!(plan.at(4, 18 * 60), usual);
        assert!(plan.at(4, 22 * 60).metered && plan.at(5, 5 * 60 + 59).metered);
        assert!(!plan.at(5, 6 * 60).metered && plan.at(5, 23 * 60).metered);
        assert!(plan.at(6, 0).metered, "Saturday's night comes before Sunday's rule");
        assert_eq!(plan.at(6, 7 * 60).bandwidth.up, Some(2 << 20));
        assert_eq!(plan.at(0, 0).bandwidth.up, Some(2 << 20));
        assert_eq!(plan.at(1, 0), usual);
        assert_eq!(Plan::parse("", usual).unwrap().now(), usual);
        assert_eq!(Plan::parse("daily 00:00-24:00", usual).unwrap().now(), Terms::default());
    }

    #[test]
    fn what_is_no_schedule_is_said() {
        for bad in [
            "mon",
            "mon 8-9",
            "mon 08:00",
            "mon 08:00-08:00",
            "mon 08:00-25:00",
            "mon 24:01-03:00",
            "mun 08:00-09:00",
            "mon-xyz 08:00-09:00",
            "mon 08:00-09:00 up=1",
            "mon 08:00-09:00 sideways=1MiB",
            "mon 08:00-09:00 cheap",
        ] {
            assert!(Plan::parse(bad, Terms::default()).is_err(), "{bad}");
        }
        let many = "mon 08:00-09:00;".repeat(RULES_MAX + 1);
        assert!(Plan::parse(&many, Terms::default()).is_err());
        assert_eq!(parse_rate(""), Ok(None));
        assert!(parse_rate("1KiB").is_err() && parse_rate("x").is_err());
    }
}
