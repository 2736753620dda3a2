//! The fields that results show with each matching span: those that the query compares or selects.

use throughline_store::{SpanField, SpanFilter};

use super::condition::{QueryField, SpanCondition, ValueExpression};
use super::spanset_query::{GroupKey, PipelineStage, SpansetExpression};

/// Maximum number of fields of a result.
const MAX_FIELDS: usize = 32;

/// A field that results show with each matching span.
#[derive(Debug, Clone)]
pub struct SelectedField {
    /// Name: of an attribute its key, of an expression its text.
    pub name: String,
    /// Value.
    pub value: ValueExpression,
}

// === impl SpansetExpression ===

impl SpansetExpression {
    /// Returns the fields that the query compares or selects, each once.
    #[must_use]
    pub fn fields(&self) -> Vec<SelectedField> {
        let mut fields = Vec::new();
        add_expression(self, &mut fields);
        fields
    }
}

fn add_expression(expression: &SpansetExpression, fields: &mut Vec<SelectedField>) {
    match expression {
        SpansetExpression::Filter(condition) => add_condition(condition, fields),
        SpansetExpression::Combine(left, _, right) => {
            add_expression(left, fields);
            add_expression(right, fields);
        }
        SpansetExpression::Pipeline(first, stages) => {
            add_expression(first, fields);
            for stage in stages {
                match stage {
                    PipelineStage::Spansets(inner) => add_expression(inner, fields),
                    PipelineStage::Aggregate(filter) => {
                        if let Some(value) = &filter.value {
                            add_value(value, fields);
                        }
                    }
                    PipelineStage::Group(key) => add_key(key, fields),
                    PipelineStage::Select(keys) => keys.iter().for_each(|key| add_key(key, fields)),
                    PipelineStage::Coalesce => {}
                }
            }
        }
    }
}

fn add_condition(condition: &SpanCondition, fields: &mut Vec<SelectedField>) {
    match condition {
        SpanCondition::Filter(filter) => add_filter(filter, fields),
        SpanCondition::All(parts) | SpanCondition::Any(parts) => {
            parts.iter().for_each(|part| add_condition(part, fields));
        }
        SpanCondition::Not(inner) => add_condition(inner, fields),
        SpanCondition::Compare(left, _, right) => {
            add_value(left, fields);
            add_value(right, fields);
        }
        SpanCondition::Match { text: value, .. } | SpanCondition::Truth(value) => {
            add_value(value, fields);
        }
        // The values are those of another span.
        SpanCondition::ParentFilter(_) => {}
    }
}

fn add_filter(filter: &SpanFilter, fields: &mut Vec<SelectedField>) {
    match filter {
        SpanFilter::All(parts) | SpanFilter::Any(parts) => {
            parts.iter().for_each(|part| add_filter(part, fields));
        }
        SpanFilter::Not(inner) => add_filter(inner, fields),
        SpanFilter::Is(field, _) => add_field(&QueryField::Span(field.clone()), fields),
    }
}

fn add_value(value: &ValueExpression, fields: &mut Vec<SelectedField>) {
    match value {
        ValueExpression::Field(field) => add_field(field, fields),
        ValueExpression::Literal(_) => {}
        ValueExpression::Negate(inner) => add_value(inner, fields),
        ValueExpression::Arithmetic(left, _, right) => {
            add_value(left, fields);
            add_value(right, fields);
        }
    }
}

fn add_key(key: &GroupKey, fields: &mut Vec<SelectedField>) {
    if let ValueExpression::Field(field) = &key.value {
        add_field(field, fields);
    } else {
        add(&key.label, key.value.clone(), fields);
    }
}

fn add_field(field: &QueryField, fields: &mut Vec<SelectedField>) {
    if let Some(name) = name_of(field) {
        add(&name, ValueExpression::Field(field.clone()), fields);
    }
}

fn add(name: &str, value: ValueExpression, fields: &mut Vec<SelectedField>) {
    if fields.len() < MAX_FIELDS && fields.iter().all(|field| field.name != name) {
        let name = name.to_owned();
        fields.push(SelectedField { name, value });
    }
}

/// Returns the name of a field; `None` for what results show anyway.
fn name_of(field: &QueryField) -> Option<String> {
    let name = match field {
        QueryField::Span(SpanField::Attribute(_, key)) => return Some(key.clone()),
        QueryField::Parent(SpanField::Attribute(_, key)) => return Some(format!("parent.{key}")),
        QueryField::Span(field) => match field {
            SpanField::Status => "status",
            SpanField::StatusMessage => "statusMessage",
            SpanField::Kind => "kind",
            SpanField::ParentId => "span:parentID",
            SpanField::Service => "service.name",
            SpanField::TraceDuration => "traceDuration",
            SpanField::RootName => "rootName",
            SpanField::RootService => "rootServiceName",
            SpanField::EventName => "event:name",
            SpanField::EventTime => "event:timeSinceStart",
            SpanField::LinkTraceId => "link:traceID",
            SpanField::LinkSpanId => "link:spanID",
            SpanField::ScopeName => "instrumentation:name",
            SpanField::ScopeVersion => "instrumentation:version",
            SpanField::Topic => "topic",
            SpanField::Partition => "partition",
            SpanField::Offset => "offset",
            SpanField::Group => "group",
            SpanField::Lag => "lag",
            SpanField::QueueTime => "queue_time",
            SpanField::Name
            | SpanField::StartTime
            | SpanField::Duration
            | SpanField::Id
            | SpanField::TraceId
            | SpanField::Attribute(..) => return None,
        },
        QueryField::Parent(_) => return None,
        QueryField::ChildCount => "childCount",
        QueryField::NestedSetLeft => "nestedSetLeft",
        QueryField::NestedSetRight => "nestedSetRight",
        QueryField::NestedSetParent => "nestedSetParent",
    };
    Some(name.to_owned())
}
