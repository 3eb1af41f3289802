//! The version of a stored value, and the order of two versions.
//!
//! Pure. One rule for every process that writes: [`Version::compare`]. Versions of KV v2 are ordered by
//! their number and the time of their creation, credentials that a store issues by the time of their end; every
//! other version is a name, and the last read wins.

use std::fmt::{self, Display};

use jiff::Timestamp;

/// The store's name for a value. Never derived from the password, so it may be shown to anyone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// A version of KV v2.
    Numbered {
        /// The number, which begins at 1 again where the key was deleted and created again.
        number: u64,
        /// The time of its creation by the clock of the store; `None` in an annotation of an older regcred,
        /// and in an event.
        created: Option<Timestamp>,
    },
    /// A credential that the store issued for a time: of two, the one that is valid for longer is the later one.
    Issued {
        /// The time from which it is invalid, by the clock of the store.
        expires: Timestamp,
    },
    /// A name without an order: an AWS `VersionId`, or the modification time of a file.
    Unordered(String),
}

/// The relation of the version that was found to the one that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionOrder {
    /// The same version, as far as both are known.
    Same,
    /// A higher number, or a later end.
    Newer,
    /// An equal or lower number with a later time: the key was deleted and created again.
    Recreated,
    /// An equal or lower number with an earlier time: a replica that lags behind, or a restored snapshot. Also
    /// a lower number where one of the times is unknown, and an earlier end.
    Older,
    /// Two names, or versions of two kinds, which have no order.
    Unordered,
}

/// The start of the text of an issued version, before the time of its end.
const ISSUED: &str = "expires@";

impl Version {
    /// The placeholder for a store without versions, such as KV v1.
    pub const UNVERSIONED: &str = "unversioned";

    /// Creates the placeholder for a store without versions.
    #[must_use]
    pub fn unversioned() -> Self {
        Self::Unordered(Self::UNVERSIONED.to_owned())
    }

    /// Returns true if the store has no versions.
    #[must_use]
    pub fn is_unversioned(&self) -> bool {
        matches!(self, Self::Unordered(name) if name == Self::UNVERSIONED)
    }

    /// Returns the relation of `found` to this version, which is held.
    #[must_use]
    pub fn compare(&self, found: &Self) -> VersionOrder {
        use std::cmp::Ordering::{Equal, Greater, Less};
        if let (Self::Issued { expires: held }, Self::Issued { expires }) = (self, found) {
            return match expires.cmp(held) {
                Greater => VersionOrder::Newer,
                Equal => VersionOrder::Same,
                Less => VersionOrder::Older,
            };
        }
        let (Self::Numbered { number: held, created: held_at }, Self::Numbered { number, created }) =
            (self, found)
        else {
            return if self == found { VersionOrder::Same } else { VersionOrder::Unordered };
        };
        let by_time = held_at.zip(*created).map(|(held_at, created)| created.cmp(&held_at));
        match (number.cmp(held), by_time) {
            (Greater, _) => VersionOrder::Newer,
            (_, Some(Greater)) => VersionOrder::Recreated,
            (Equal, None | Some(Equal)) => VersionOrder::Same,
            (Equal, Some(Less)) | (Less, _) => VersionOrder::Older,
        }
    }

    /// Returns true if `found` is known to be later than this version.
    #[must_use]
    pub fn is_replaced_by(&self, found: &Self) -> bool {
        matches!(self.compare(found), VersionOrder::Newer | VersionOrder::Recreated)
    }

    /// Returns true if both are the same version, as far as both are known.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.compare(other) == VersionOrder::Same
    }

    /// Returns true if nothing is missing that orders this version: two versions of a key are then the same
    /// only if they are equal.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !matches!(self, Self::Numbered { created: None, .. })
    }

    /// Returns the version with the time of its creation, for messages about the order of two.
    #[must_use]
    pub fn with_time(&self) -> String {
        match self {
            Self::Numbered { number, created: Some(created) } => format!("{number} (created {created})"),
            version => version.to_string(),
        }
    }

    /// Returns the text from which [`Version::from`] creates an equal version.
    #[must_use]
    pub fn serialized(&self) -> String {
        match self {
            Self::Numbered { number, created: Some(created) } => format!("{number}@{created}"),
            version => version.to_string(),
        }
    }
}

/// Writes the version for people: a number without its time.
impl Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numbered { number, .. } => number.fmt(f),
            Self::Issued { expires } => write!(f, "{ISSUED}{expires}"),
            Self::Unordered(name) => name.fmt(f),
        }
    }
}

/// Reads `7`, `7@2026-11-27T10:00:00Z`, `expires@2026-11-27T22:00:00Z`, or a name. No name of AWS is short enough to be
/// taken for a number, or has an `@`.
impl From<&str> for Version {
    fn from(text: &str) -> Self {
        if let Some(Ok(expires)) = text.strip_prefix(ISSUED).map(str::parse) {
            return Self::Issued { expires };
        }
        let (number, created) = match text.split_once('@') {
            None => (parse_number(text), Some(None)),
            Some((number, created)) => (parse_number(number), created.parse().ok().map(Some)),
        };
        match number.zip(created) {
            Some((number, created)) => Self::Numbered { number, created },
            None => Self::Unordered(text.to_owned()),
        }
    }
}

/// Parses a number as a store writes it: digits without a leading zero.
fn parse_number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(held: &str, found: &str, expect: VersionOrder) {
        assert_eq!(Version::from(held).compare(&found.into()), expect, "{held} held, {found} found");
    }

    const EARLY: &str = "2026-11-27T10:00:00Z";
    const LATE: &str = "2026-11-27T10:00:00.000000001Z";

    #[test]
    fn numbers_with_times_are_ordered_by_both() {
        use VersionOrder::{Newer, Older, Recreated, Same};
        for (held, found, expect) in [
            ((7, EARLY), (7, EARLY), Same),
            ((7, EARLY), (8, LATE), Newer),
            // The clock of another node of the store may be slow: within the life of a key the number counts.
            ((7, LATE), (8, EARLY), Newer),
            ((7, EARLY), (8, EARLY), Newer),
            ((7, EARLY), (7, LATE), Recreated),
            ((7, EARLY), (1, LATE), Recreated),
            ((7, LATE), (7, EARLY), Older),
            ((7, LATE), (6, EARLY), Older),
            ((7, EARLY), (6, EARLY), Older),
        ] {
            let [held, found] = [held, found].map(|(number, time)| format!("{number}@{time}"));
            check(&held, &found, expect);
        }
    }

    #[test]
    fn unknown_time_leaves_the_order_to_the_numbers() {
        for (held, found) in [("7", "8@2026-11-27T10:00:00Z"), ("7@2026-11-27T10:00:00Z", "8"), ("7", "8")] {
            check(held, found, VersionOrder::Newer);
            check(found, held, VersionOrder::Older);
        }
        check("7", "7@2026-11-27T10:00:00Z", VersionOrder::Same);
        check("7@2026-11-27T10:00:00Z", "7", VersionOrder::Same);
    }

    #[test]
    fn names_have_no_order() {
        check("6a7e8feb-1", "6a7e8feb-1", VersionOrder::Same);
        check("6a7e8feb-1", "6a7e8feb-2", VersionOrder::Unordered);
        check("2026-11-27T10:00:00Z", "2026-11-27T09:00:00Z", VersionOrder::Unordered);
        check("7", "6a7e8feb-1", VersionOrder::Unordered);
        check("unversioned", "7", VersionOrder::Unordered);
    }

    #[test]
    fn issued_credentials_are_ordered_by_their_end() {
        use VersionOrder::{Newer, Older, Same, Unordered};
        let [early, late] = [EARLY, LATE].map(|time| format!("expires@{time}"));
        check(&early, &late, Newer);
        check(&late, &early, Older);
        check(&late, &late, Same);
        for other in ["7", "7@2026-11-27T10:00:00Z", "unversioned", EARLY] {
            check(&early, other, Unordered);
            check(other, &early, Unordered);
        }
        assert!(Version::from(early.as_str()).is_exact());
    }

    #[test]
    fn issued_version_survives_a_round_trip() {
        let version = Version::Issued { expires: LATE.parse().expect("a time") };
        assert_eq!(version.serialized(), format!("expires@{LATE}"));
        for text in [version.to_string(), version.serialized(), version.with_time()] {
            assert_eq!(Version::from(text.as_str()), version);
        }
    }

    #[test]
    fn text_that_is_no_number_is_a_name() {
        for text in [
            "",
            "expires@",
            "expires@7",
            "expires",
            "07",
            "+7",
            "-7",
            "7.0",
            "7@",
            "7@yesterday",
            "@",
            "18446744073709551616",
            "7 ",
        ] {
            assert_eq!(Version::from(text), Version::Unordered(text.to_owned()), "{text:?}");
            assert_eq!(Version::from(text).serialized(), text);
        }
    }

    #[test]
    fn people_see_the_number_alone() {
        let version = Version::from("7@2026-11-27T10:00:00.123456789Z");
        assert_eq!(version.to_string(), "7");
        assert_eq!(version.with_time(), "7 (created 2026-11-27T10:00:00.123456789Z)");
        assert_eq!(version.serialized(), "7@2026-11-27T10:00:00.123456789Z");
    }

    fn version() -> impl Strategy<Value = Version> {
        let created = proptest::option::of(
            (0_i64..3).prop_map(|second| Timestamp::from_second(second).expect("a time")),
        );
        prop_oneof![
            4 => (0_u64..4, created).prop_map(|(number, created)| Version::Numbered { number, created }),
            2 => (0_i64..3).prop_map(|second| Version::Issued {
                expires: Timestamp::from_second(second).expect("a time"),
            }),
            1 => "[a-c]".prop_map(Version::Unordered),
        ]
    }

    proptest! {
        #[test]
        fn older_one_way_is_taken_the_other_way(a in version(), b in version()) {
            use VersionOrder::{Newer, Older, Recreated, Same, Unordered};
            let (there, back) = (a.compare(&b), b.compare(&a));
            match there {
                Same | Unordered => prop_assert_eq!(back, there),
                // Of two versions at least one may replace the other, or no process could ever settle.
                Older => prop_assert!(matches!(back, Newer | Recreated), "{:?}", back),
                Recreated => prop_assert!(matches!(back, Older | Newer), "{:?}", back),
                Newer => prop_assert!(matches!(back, Older | Recreated), "{:?}", back),
            }
        }

        #[test]
        fn order_is_antisymmetric_where_number_and_time_agree(a in version(), b in version()) {
            if let (
                Version::Numbered { number, created: Some(created) },
                Version::Numbered { number: other, created: Some(other_created) },
            ) = (&a, &b)
                && (number > other) == (created > other_created)
                && (number < other) == (created < other_created)
            {
                prop_assert_eq!(a.compare(&b) == VersionOrder::Older, b.compare(&a) == VersionOrder::Newer);
            }
        }

        #[test]
        fn version_survives_its_text(version in version()) {
            prop_assert_eq!(Version::from(version.serialized().as_str()), version);
        }

        #[test]
        fn equal_versions_are_the_same(version in version()) {
            prop_assert!(version.is_same(&version));
        }
    }
}
