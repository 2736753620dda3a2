//! Queries for spansets.

use throughline_store::ComparisonOperator;

use super::condition::{SpanCondition, ValueExpression};
use super::query_value::QueryValue;

/// An expression whose value, for one trace, is a list of spansets.
#[derive(Debug, Clone)]
pub enum SpansetExpression {
    /// `{ .. }`: the spans that satisfy the condition.
    Filter(SpanCondition),
    /// Two spansets combined.
    Combine(Box<Self>, SpansetOperator, Box<Self>),
    /// Spansets that pass through stages.
    Pipeline(Box<Self>, Vec<PipelineStage>),
}

/// An operator between two spansets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpansetOperator {
    /// `&&`: both have spans; the result is all of them.
    And,
    /// `||`: one of them has spans; the result is all of them.
    Or,
    /// Spans of the right side that are related to one of the left side.
    Related(StructuralRelation),
    /// `!>>` and others: spans of the right side that are related to none of the left side.
    Unrelated(StructuralRelation),
    /// `&>>` and others: the related spans of both sides.
    Union(StructuralRelation),
}

/// A relation of a span of the right side to one of the left side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StructuralRelation {
    /// `>`: the left span is its parent.
    Child,
    /// `>>`: the left span is above it.
    Descendant,
    /// `<`: the left span is its child.
    Parent,
    /// `<<`: the left span is below it.
    Ancestor,
    /// `~`: both have one parent.
    Sibling,
}

/// A stage of a pipeline.
#[derive(Debug, Clone)]
pub enum PipelineStage {
    /// The expression is evaluated within each spanset.
    Spansets(SpansetExpression),
    /// Only spansets whose aggregate compares as given pass.
    Aggregate(AggregateFilter),
    /// `by(..)`: each spanset is split by a value.
    Group(GroupKey),
    /// `coalesce()`: the spansets become one.
    Coalesce,
    /// `select(..)`: fields to return with each span.
    Select(Vec<GroupKey>),
}

/// A comparison with an aggregate of a spanset.
#[derive(Debug, Clone)]
pub struct AggregateFilter {
    /// Function.
    pub function: AggregateFunction,
    /// Value to aggregate; absent for `count()`.
    pub value: Option<ValueExpression>,
    /// Aggregate as written, for results.
    pub label: String,
    /// Operator between the aggregate and the literal.
    pub operator: ComparisonOperator,
    /// Literal.
    pub literal: QueryValue,
}

/// A function over the spans of a spanset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregateFunction {
    /// Number of spans.
    Count,
    /// Mean.
    Average,
    /// Least value.
    Minimum,
    /// Greatest value.
    Maximum,
    /// Sum.
    Sum,
}

/// A value of a span with the text it was written as.
#[derive(Debug, Clone)]
pub struct GroupKey {
    /// Value.
    pub value: ValueExpression,
    /// The expression as written.
    pub label: String,
}

// === impl SpansetExpression ===

impl SpansetExpression {
    /// Creates the expression that every span matches.
    #[must_use]
    pub const fn every_span() -> Self {
        Self::Filter(SpanCondition::always())
    }

    /// Adds a stage.
    pub(super) fn then(self, stage: PipelineStage) -> Self {
        match self {
            Self::Pipeline(first, mut stages) => {
                stages.push(stage);
                Self::Pipeline(first, stages)
            }
            Self::Filter(_) | Self::Combine(..) => Self::Pipeline(Box::new(self), vec![stage]),
        }
    }
}

// === impl StructuralRelation ===

impl StructuralRelation {
    /// Returns the relation of the left span to the right one.
    pub(crate) const fn inverse(self) -> Self {
        match self {
            Self::Child => Self::Parent,
            Self::Descendant => Self::Ancestor,
            Self::Parent => Self::Child,
            Self::Ancestor => Self::Descendant,
            Self::Sibling => Self::Sibling,
        }
    }
}

// === impl SpansetOperator ===

impl SpansetOperator {
    pub(super) fn from_symbol(symbol: &str) -> Option<Self> {
        use StructuralRelation::{Ancestor, Child, Descendant, Parent, Sibling};
        Some(match symbol {
            "&&" => Self::And,
            "||" => Self::Or,
            ">" => Self::Related(Child),
            ">>" => Self::Related(Descendant),
            "<" => Self::Related(Parent),
            "<<" => Self::Related(Ancestor),
            "~" => Self::Related(Sibling),
            "!>" => Self::Unrelated(Child),
            "!>>" => Self::Unrelated(Descendant),
            "!<" => Self::Unrelated(Parent),
            "!<<" => Self::Unrelated(Ancestor),
            "!~" => Self::Unrelated(Sibling),
            "&>" => Self::Union(Child),
            "&>>" => Self::Union(Descendant),
            "&<" => Self::Union(Parent),
            "&<<" => Self::Union(Ancestor),
            "&~" => Self::Union(Sibling),
            _ => return None,
        })
    }
}
