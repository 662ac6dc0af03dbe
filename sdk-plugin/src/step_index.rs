//! Which step of a plan is meant.

use serde::{Deserialize, Serialize};

/// The position of a step in its plan, counted from 0. In JSON it is a number.
///
/// It may be past the last step of a plan that it was not made for: [`StepIndex::of`] is then `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepIndex(u32);

impl StepIndex {
    /// A plan's first step.
    pub const FIRST: Self = Self(0);

    /// The step with this number, counted from 0.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Counted from 0.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The step before this one; `None` for the first.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }

    /// This step's item of a list with one item for each step of a plan.
    #[must_use]
    pub fn of<T>(self, steps: &[T]) -> Option<&T> {
        steps.get(usize::try_from(self.0).ok()?)
    }

    /// As [`StepIndex::of`], to change it.
    #[must_use]
    pub fn of_mut<T>(self, steps: &mut [T]) -> Option<&mut T> {
        steps.get_mut(usize::try_from(self.0).ok()?)
    }

    /// A list with one item for each step of a plan, each item with its position.
    pub fn each<T>(steps: &[T]) -> impl Iterator<Item = (Self, &T)> {
        (0..=u32::MAX).map(Self).zip(steps)
    }
}

impl std::fmt::Display for StepIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for StepIndex {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        u32::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        u32::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_beyond_the_plan_is_none() {
        let mut steps = ['a', 'b'];
        assert_eq!(StepIndex::FIRST.of(&steps), Some(&'a'));
        assert_eq!(StepIndex::new(1).of_mut(&mut steps), Some(&mut 'b'));
        for beyond in [2, u32::MAX] {
            assert_eq!(StepIndex::new(beyond).of(&steps), None);
            assert_eq!(StepIndex::new(beyond).of_mut(&mut steps), None);
        }
    }

    #[test]
    fn each_item_comes_with_its_position() {
        let each: Vec<_> = StepIndex::each(&['a', 'b']).collect();
        assert_eq!(each, [(StepIndex::FIRST, &'a'), (StepIndex::new(1), &'b')]);
        assert_eq!(StepIndex::new(1).previous(), Some(StepIndex::FIRST));
        assert_eq!(StepIndex::FIRST.previous(), None);
    }

    #[test]
    fn in_json_it_is_a_number() {
        assert_eq!(serde_json::to_string(&StepIndex::new(7)).unwrap(), "7");
        assert_eq!(serde_json::from_str::<StepIndex>("7").unwrap(), StepIndex::new(7));
        assert!(serde_json::from_str::<StepIndex>("-1").is_err());
    }
}
