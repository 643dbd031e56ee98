//! Values of flags that may also be taken away, by an empty text: `--name ""`. Knows no flag.

use std::str::FromStr;

/// A value, or that there is to be none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OrNothing<T>(Option<T>);

impl<T> OrNothing<T> {
    /// The value, if there is to be one.
    pub(super) fn into_option(self) -> Option<T> {
        self.0
    }
}

impl<T: FromStr> FromStr for OrNothing<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|value| Self(Some(value))) }
    }
}

/// A repeated flag: `None` if it was not named, an empty list for `--flag ""`.
pub(super) fn list<T>(given: Vec<OrNothing<T>>) -> Option<Vec<T>> {
    let named = !given.is_empty();
    named.then(|| given.into_iter().filter_map(OrNothing::into_option).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_text_takes_a_value_away() {
        let read = |text: &str| text.parse::<OrNothing<u8>>().map(OrNothing::into_option);

        assert_eq!(read("7"), Ok(Some(7)));
        assert_eq!(read(""), Ok(None));
        assert!(read("x").is_err());
        assert_eq!(list::<u8>(vec![]), None);
        assert_eq!(list::<u8>(vec![OrNothing(None)]), Some(vec![]));
        assert_eq!(list(vec![OrNothing(Some(1)), OrNothing(Some(2))]), Some(vec![1, 2]));
    }
}
