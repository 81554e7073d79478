//! From text to a valid expression: minijinja parses it, and the walk over its tree holds every field, type and value
//! against the shape of the events.

use std::collections::BTreeSet;

use minijinja::machinery::ast::{BinOpKind, CallArg, CompareOpKind, Expr, UnaryOpKind};
use minijinja::machinery::{Token, parse_expr, tokenize};
use serde_json::Value;

use super::evaluate::{Comparison, Edge, Expression, Function, Step};
use super::shape::{self, Shape, Type};
use super::words::{described, is_place, nearest, not_known, offer, shown, unknown};
use crate::model::Patterns;

/// The parser and the walks over its tree go as deep as there are operators in a row.
const OPERATOR_LIMIT: usize = 300;

pub(super) const FILTERS: [(&str, Function); 5] = [
    ("length", Function::Length),
    ("count", Function::Length),
    ("lower", Function::Lower),
    ("upper", Function::Upper),
    ("trim", Function::Trim),
];
pub(super) const TESTS: [&str; 6] = ["none", "true", "false", "startingwith", "endingwith", "in"];

type Typed = (Expression, Shape);

pub(super) fn read(text: &str, events: &Patterns) -> Result<(Expression, Vec<String>), String> {
    let tree = parse(text)?;
    let mut reader = Reader { event: shape::selected(events), places: vec![] };
    let (expression, _) = reader.typed(&tree)?;
    let warnings = warnings(&reader.places, events);
    Ok((expression, warnings))
}

fn parse(text: &str) -> Result<Expr<'_>, String> {
    let wrong = |error: minijinja::Error| {
        let detail = error.detail().unwrap_or("cannot be read");
        format!("is not an expression such as data.message.direction == 'inbound': {detail}")
    };
    // Read once before, because the parser takes a text without an end for the end of all.
    let tokens: Vec<_> = tokenize(text, true, Default::default()).collect::<Result<_, _>>().map_err(wrong)?;
    let is_operand =
        |token: &Token<'_>| matches!(token, Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Comma);
    if tokens.iter().filter(|(token, _)| !is_operand(token)).count() > OPERATOR_LIMIT {
        return Err(format!("has more than {OPERATOR_LIMIT} names and operators"));
    }
    parse_expr(text).map_err(wrong)
}

/// What is valid and perhaps not meant.
fn warnings(places: &[Vec<Step>], events: &Patterns) -> Vec<String> {
    if places.is_empty() {
        return vec!["looks at no field of the event, so it says the same of all".into()];
    }
    // Whoever tells types apart knows that they differ.
    if places.iter().any(|place| *place == [Step::Field("type".into())]) {
        return vec![];
    }
    let lacking = |place: &Vec<Step>| {
        let (_, without) = shape::kinds_with(place);
        without.into_iter().filter(|kind| events.want(kind)).collect::<Vec<_>>()
    };
    let mut lacking: Vec<_> = places.iter().flat_map(lacking).collect();
    lacking.sort_unstable();
    lacking.dedup();
    if lacking.is_empty() {
        return vec![];
    }
    vec![format!("does not apply to {}, which lack what it looks at: they are delivered", lacking.join(", "))]
}

struct Reader {
    event: Shape,
    /// Places in the event that the expression looks at.
    places: Vec<Vec<Step>>,
}

impl Reader {
    fn typed(&mut self, tree: &Expr<'_>) -> Result<Typed, String> {
        if let Some(value) = literal(tree)? {
            let shape = Shape::of_literal(&value);
            return Ok((Expression::Literal(value), shape));
        }
        match tree {
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => self.place(tree),
            Expr::List(list) => self.list(&list.items),
            Expr::Tuple(tuple) => self.list(&tuple.items),
            Expr::UnaryOp(operation) if matches!(operation.op, UnaryOpKind::Not) => {
                Ok((Expression::Not(self.typed(&operation.expr)?.0.into()), truth()))
            }
            Expr::BinOp(operation) => match operation.op {
                BinOpKind::ScAnd => {
                    let (one, two) = (self.typed(&operation.left)?, self.typed(&operation.right)?);
                    Ok((Expression::And(one.0.into(), two.0.into()), one.1.or(two.1)))
                }
                BinOpKind::ScOr => {
                    let (one, two) = (self.typed(&operation.left)?, self.typed(&operation.right)?);
                    Ok((Expression::Or(one.0.into(), two.0.into()), one.1.or(two.1)))
                }
                other => {
                    let comparison =
                        binary(other).ok_or("cannot calculate; it compares, with ==, <, in and the like")?;
                    self.chain(&operation.left, [(comparison, &operation.right)])
                }
            },
            Expr::Compare(chain) => {
                self.chain(&chain.expr, chain.ops.iter().map(|link| (comparison(link.op), &link.expr)))
            }
            Expr::Filter(filter) => self.filtered(filter.name, filter.expr.as_ref(), &filter.args),
            Expr::Test(test) => self.tested(test.name, &test.expr, &test.args),
            Expr::UnaryOp(_) => Err("cannot calculate; only a number can be negative".into()),
            Expr::Call(_) => Err(format!("calls no functions; there are {}", offer())),
            Expr::Slice(_) | Expr::Map(_) | Expr::IfExpr(_) | Expr::Const(_) => {
                Err(format!("knows no slices, maps, conditions or such numbers; there are {}", offer()))
            }
        }
    }

    /// A place in the event, down to which every field has to be known.
    fn place(&mut self, tree: &Expr<'_>) -> Result<Typed, String> {
        let steps = steps(tree)?;
        let mut shape = self.event.clone();
        for (depth, step) in steps.iter().enumerate() {
            shape = shape.at(step).ok_or_else(|| unknown(&shape, &steps[..=depth]))?;
        }
        self.places.push(steps.clone());
        Ok((Expression::Place(steps), shape))
    }

    fn list(&mut self, items: &[Expr<'_>]) -> Result<Typed, String> {
        let items = items.iter().map(|item| Ok(self.typed(item)?.0)).collect::<Result<_, String>>()?;
        Ok((Expression::List(items), Shape::of_literal(&Value::Array(vec![]))))
    }

    fn chain<'t, 's: 't>(
        &mut self,
        first: &'t Expr<'s>,
        links: impl IntoIterator<Item = (Comparison, &'t Expr<'s>)>,
    ) -> Result<Typed, String> {
        let (expression, mut shape) = self.typed(first)?;
        let (mut left, mut rest) = (first, vec![]);
        for (comparison, right) in links {
            let (next, of_next) = self.typed(right)?;
            self.comparable(comparison, (left, &shape), (right, &of_next))?;
            rest.push((comparison, next));
            (left, shape) = (right, of_next);
        }
        Ok((Expression::Compare(expression.into(), rest), truth()))
    }

    /// Whether a comparison can ever come out one way as well as the other.
    fn comparable(
        &mut self,
        comparison: Comparison,
        left: (&Expr<'_>, &Shape),
        right: (&Expr<'_>, &Shape),
    ) -> Result<(), String> {
        match comparison {
            Comparison::Equal | Comparison::Unequal => can_be_equal(left, right),
            Comparison::In | Comparison::NotIn => self.can_contain(right, left),
            _ => {
                let common: BTreeSet<_> = left.1.types.intersection(&right.1.types).copied().collect();
                if common.contains(&Type::Text) || common.contains(&Type::Number) {
                    return Ok(());
                }
                let (left, right) = (described(left), described(right));
                Err(format!("{left} has no order with {right}; two texts have one, and two numbers"))
            }
        }
    }

    fn can_contain(&mut self, container: (&Expr<'_>, &Shape), part: (&Expr<'_>, &Shape)) -> Result<(), String> {
        let items = match container.0 {
            Expr::List(list) => Some(&list.items),
            Expr::Tuple(tuple) => Some(&tuple.items),
            _ => None,
        };
        for item in items.into_iter().flatten() {
            let (_, shape) = self.typed(item)?;
            can_be_equal(part, (item, &shape))?;
        }
        let types = &container.1.types;
        if types.contains(&Type::Text) && part.1.types.contains(&Type::Text) {
            return Ok(());
        }
        if !types.contains(&Type::List) {
            let (container, part) = (described(container), described(part));
            return Err(format!("{container} cannot contain {part}: a text contains texts, a list its items"));
        }
        match container.1.item() {
            Some(item) if items.is_none() => can_be_equal((container.0, &item), part),
            _ => Ok(()),
        }
    }

    fn filtered(&mut self, name: &str, tree: Option<&Expr<'_>>, args: &[CallArg<'_>]) -> Result<Typed, String> {
        let Some((_, function)) = FILTERS.iter().find(|(known, _)| *known == name) else {
            return Err(not_known("filter", name, &FILTERS.map(|(name, _)| name)));
        };
        let tree =
            tree.filter(|_| args.is_empty()).ok_or_else(|| format!("the filter \"{name}\" takes no arguments"))?;
        let (inner, shape) = self.typed(tree)?;
        let takes_list = *function == Function::Length && shape.types.contains(&Type::List);
        if !takes_list && !shape.types.contains(&Type::Text) {
            return Err(format!("{} has no \"{name}\"", described((tree, &shape))));
        }
        let yields = if *function == Function::Length { Type::Number } else { Type::Text };
        Ok((Expression::Apply(*function, inner.into()), Shape::of([yields])))
    }

    fn tested(&mut self, name: &str, tree: &Expr<'_>, args: &[CallArg<'_>]) -> Result<Typed, String> {
        if matches!(name, "defined" | "undefined") {
            return Err(format!("the test \"{name}\" is not needed: what lacks a field is not judged, and delivered"));
        }
        if !TESTS.contains(&name) {
            return Err(not_known("test", name, &TESTS));
        }
        let argument = match args {
            [] => None,
            [CallArg::Pos(argument)] => Some(argument),
            _ => return Err(format!("the test \"{name}\" takes one argument at most")),
        };
        let constant = |value: Value| (Expression::Literal(value.clone()), Shape::of_literal(&value));
        let fixed = match (name, argument) {
            ("none", None) => constant(Value::Null),
            ("true", None) => constant(true.into()),
            ("false", None) => constant(false.into()),
            ("in", Some(container)) => return self.chain(tree, [(Comparison::In, container)]),
            ("startingwith" | "endingwith", Some(part)) => return self.edge(name, tree, part),
            (_, None) => return Err(format!("the test \"{name}\" needs an argument")),
            (_, Some(_)) => return Err(format!("the test \"{name}\" takes no argument")),
        };
        let (inner, shape) = self.typed(tree)?;
        if shape.types.is_disjoint(&fixed.1.types) {
            return Err(format!("{} is never {}", described((tree, &shape)), fixed.1.words()));
        }
        Ok((Expression::Compare(inner.into(), vec![(Comparison::Equal, fixed.0)]), truth()))
    }

    fn edge(&mut self, name: &str, tree: &Expr<'_>, part: &Expr<'_>) -> Result<Typed, String> {
        let edge = if name == "startingwith" { Edge::Start } else { Edge::End };
        let (text, part) = ((tree, self.typed(tree)?), (part, self.typed(part)?));
        for (tree, (_, shape)) in [&text, &part] {
            if !shape.types.contains(&Type::Text) {
                return Err(format!("{}: the test \"{name}\" is for texts", described((tree, shape))));
            }
        }
        Ok((Expression::Edge(edge, text.1.0.into(), part.1.0.into()), truth()))
    }
}

fn truth() -> Shape {
    Shape::of([Type::Boolean])
}

/// The value of a literal; `None` for what is none.
fn literal(tree: &Expr<'_>) -> Result<Option<Value>, String> {
    let is_negative = |operation: &minijinja::machinery::ast::UnaryOp<'_>| {
        matches!(operation.op, UnaryOpKind::Neg) && matches!(operation.expr, Expr::Const(_))
    };
    let value = match tree {
        Expr::Const(constant) => constant.value.clone(),
        Expr::UnaryOp(operation) if is_negative(operation) => {
            tree.as_const().ok_or("cannot calculate; only a number can be negative")?
        }
        _ => return Ok(None),
    };
    // A number beyond what JSON knows would turn to null.
    let known = serde_json::to_value(&value).ok().filter(|json| !json.is_null() || value.is_none());
    known.map(Some).ok_or_else(|| "has a number that JSON does not know".to_owned())
}

pub(super) fn steps(tree: &Expr<'_>) -> Result<Vec<Step>, String> {
    let (inner, step) = match tree {
        Expr::Var(name) => return Ok(vec![Step::Field(name.id.to_owned())]),
        Expr::GetAttr(field) => (&field.expr, Step::Field(field.name.to_owned())),
        Expr::GetItem(item) => match literal(&item.subscript_expr)? {
            Some(Value::String(name)) => (&item.expr, Step::Field(name)),
            Some(Value::Number(number)) if number.is_i64() => {
                (&item.expr, Step::Item(number.as_i64().unwrap_or_default()))
            }
            _ => return Err("a subscript is a text or a whole number, written out".into()),
        },
        _ => return Err("only a field of the event can have fields".into()),
    };
    let mut steps = steps(inner)?;
    steps.push(step);
    Ok(steps)
}

fn can_be_equal(left: (&Expr<'_>, &Shape), right: (&Expr<'_>, &Shape)) -> Result<(), String> {
    // The place is what there is to say something about.
    let (place, other) = if is_place(left.0) { (left, right) } else { (right, left) };
    let common: BTreeSet<_> = place.1.types.intersection(&other.1.types).copied().collect();
    if common.is_empty() {
        return Err(format!("{} is never {}", described(place), other.1.words()));
    }
    let only_texts = common.iter().all(|kind| *kind == Type::Text);
    match (&place.1.values, &other.1.values) {
        (Some(values), Some(others)) if only_texts && values.is_disjoint(others) => {
            if !is_place(place.0) {
                return Err("compares texts that are written out, and they are never equal".into());
            }
            let meant = others.iter().find_map(|other| nearest(other, values.iter().map(String::as_str)));
            let meant = meant.map(|meant| format!("did you mean \"{meant}\"? ")).unwrap_or_default();
            let values: Vec<_> = values.iter().map(|value| format!("\"{value}\"")).collect();
            Err(format!("{}: never has that value; {meant}it has {}", shown(place.0), values.join(", ")))
        }
        _ => Ok(()),
    }
}

fn binary(operation: BinOpKind) -> Option<Comparison> {
    Some(match operation {
        BinOpKind::Eq => Comparison::Equal,
        BinOpKind::Ne => Comparison::Unequal,
        BinOpKind::Lt => Comparison::Less,
        BinOpKind::Lte => Comparison::LessOrEqual,
        BinOpKind::Gt => Comparison::Greater,
        BinOpKind::Gte => Comparison::GreaterOrEqual,
        BinOpKind::In => Comparison::In,
        _ => return None,
    })
}

fn comparison(operation: CompareOpKind) -> Comparison {
    match operation {
        CompareOpKind::Eq => Comparison::Equal,
        CompareOpKind::Ne => Comparison::Unequal,
        CompareOpKind::Lt => Comparison::Less,
        CompareOpKind::Lte => Comparison::LessOrEqual,
        CompareOpKind::Gt => Comparison::Greater,
        CompareOpKind::Gte => Comparison::GreaterOrEqual,
        CompareOpKind::In => Comparison::In,
        CompareOpKind::NotIn => Comparison::NotIn,
    }
}
