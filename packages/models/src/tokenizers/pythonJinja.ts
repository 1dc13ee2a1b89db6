/**
 * @huggingface/jinja made to print, add and filter as Python's Jinja does, and to remember what `{% generation %}` blocks wrote. It runs the
 * library's own parser and interpreter; what differs is decided node by node here.
 */
import * as jinja from '@huggingface/jinja';

type Node = { type: string; [key: string]: unknown };
type Value = { type: string; value: unknown; toString(): string };
type Text = Value & { value: string };
type Scope = { set(name: string, value: unknown): Value };
type Block = (statements: Node[], environment: Scope) => Value;
type Evaluates = { evaluate(statement: Node | undefined, environment: Scope): Value; run(program: unknown): Value };

// The library's own declarations do not resolve under NodeNext; this is what is used of it.
const { Environment, Interpreter, parse, tokenize } = jinja as unknown as {
  Environment: new (parent?: Scope) => Scope;
  Interpreter: new (environment: Scope) => Evaluates;
  parse(tokens: unknown): unknown;
  tokenize(source: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }): unknown;
};

/** What a template wrote, and where its `{% generation %}` blocks lie in it: UTF-16 units from and to. */
export type Rendering = { text: string; generated: [number, number][] };

/** @throws Error where the template does not parse */
export function compileTemplate(source: string): (variables: Record<string, unknown>) => Rendering {
  const program = parse(tokenize(source.replace(/\n$/, '').replace(generationTag, marked), { lstrip_blocks: true, trim_blocks: true }));
  return (variables) => {
    const environment = new Environment();
    for (const [name, value] of Object.entries({ ...globals, ...variables })) environment.set(name, value);
    return unmark((new PythonInterpreter(environment).run(program) as Text).value);
  };
}

const globals = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  raise_exception(message: string) {
    throw new Error(message);
  },
  range(start: number, stop?: number, step = 1): number[] {
    const [from, to] = stop === undefined ? [0, start] : [start, stop];
    return Array.from({ length: Math.max(0, Math.ceil((to - from) / step)) }, (_, i) => from + i * step);
  },
  strftime_now: (format: string) => strftime(new Date(), format),
};

// The library drops generation tags. As a filter block the text between them keeps its place, whatever the tags trim.
const generationTag = /\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}/g;
const marked = (_: string, before: string, end: string | undefined, after: string) =>
  `{%${before} ${end ? 'endfilter' : `filter ${generation}`} ${after}%}`;
const generation = 'plumbline_generation';
// Private characters that stand around generated text until all is written.
const [opened, closed] = ['\u{F8E0}\u{F8E1}', '\u{F8E1}\u{F8E0}'];

function unmark(text: string): Rendering {
  const generated: [number, number][] = [];
  let out = '';
  let from = -1;
  for (const part of text.split(new RegExp(`(${opened}|${closed})`))) {
    if (part === opened) from = out.length;
    else if (part === closed) generated.push([from, out.length]);
    else out += part;
  }
  return { text: out, generated };
}

class PythonInterpreter extends Interpreter {
  /** What blocks had written when `continue` or `break` left them. */
  private readonly written = new WeakMap<object, { text: string; kind: 'Continue' | 'Break' }>();
  private readonly broken: string[] = [];
  private readonly bodies = new WeakSet<object>();

  constructor(environment: Scope) {
    super(environment);
    (this as unknown as { evaluateBlock: Block }).evaluateBlock = (statements, scope) => this.block(statements, scope);
  }

  override evaluate(statement: Node | undefined, environment: Scope): Value {
    if (!statement) return super.evaluate(statement, environment);
    switch (statement.type) {
      case 'Held':
        return statement.value as Value;
      case 'For':
        return this.loop(statement, environment);
      case 'Continue':
      case 'Break':
        try {
          return super.evaluate(statement, environment);
        } catch (control) {
          this.written.set(control as object, { text: '', kind: statement.type });
          throw control;
        }
      case 'BinaryExpression':
        return this.binary(statement, environment);
      case 'FilterExpression':
        return this.filter(statement, environment);
      case 'FilterStatement':
        if ((statement.filter as Node).value !== generation) return super.evaluate(statement, environment);
        // In Python the block is a macro's body: what is set in it stays in it.
        return text(opened + (this.block(statement.body as Node[], new Environment(environment)) as Text).value + closed);
      case 'CallExpression':
        return this.call(statement, environment);
      default:
        return super.evaluate(statement, environment);
    }
  }

  private block(statements: Node[], environment: Scope): Value {
    let out = '';
    for (const statement of statements) {
      try {
        const value = this.evaluate(statement, environment);
        if (value.type === 'NullValue' ? expressions.has(statement.type) : value.type !== 'UndefinedValue') out += str(value);
      } catch (error) {
        const left = typeof error === 'object' && error !== null ? this.written.get(error) : undefined;
        if (!left) throw error;
        left.text = out + left.text;
        if (!this.bodies.has(statements)) throw error;
        if (left.kind === 'Continue') return text(left.text);
        this.broken[this.broken.length - 1] = left.text;
        throw error;
      }
    }
    return text(out);
  }

  private loop(statement: Node, environment: Scope): Value {
    this.bodies.add(statement.body as object);
    this.broken.push('');
    try {
      const whole = super.evaluate(statement, environment) as Text;
      const last = this.broken.at(-1)!;
      return last === '' ? whole : text(whole.value + last);
    } finally {
      this.broken.pop();
    }
  }

  private binary(node: Node, environment: Scope): Value {
    const operator = (node.operator as Node).value;
    if (operator === 'and' || operator === 'or') return super.evaluate(node, environment);
    const [left, right] = [this.evaluate(node.left as Node, environment), this.evaluate(node.right as Node, environment)];
    if (operator === '~') return text(str(left) + str(right));
    if (operator === '+') {
      for (const [value, side] of [
        [left, node.left],
        [right, node.right],
      ] as [Value, Node][]) {
        if (value.type === 'UndefinedValue') throw new Error(`${nameOf(side)} is undefined`);
      }
      if ((left.type === 'StringValue') !== (right.type === 'StringValue')) {
        const other = typeName(left.type === 'StringValue' ? right : left);
        throw new Error(
          left.type === 'StringValue'
            ? `can only concatenate str (not "${other}") to str`
            : `unsupported operand type(s) for +: '${other}' and 'str'`,
        );
      }
    }
    return super.evaluate({ ...node, left: held(left), right: held(right) } as Node, environment);
  }

  private filter(node: Node, environment: Scope): Value {
    const filter = node.filter as Node;
    const name = String(filter.type === 'CallExpression' ? (filter.callee as Node).value : filter.value);
    const operand = this.evaluate(node.operand as Node, environment);
    if (name === 'string') return text(str(operand));
    if (textFilters.has(name) && operand.type !== 'StringValue')
      return super.evaluate({ ...node, operand: held(text(str(operand))) } as Node, environment);
    if (operand.type === 'UndefinedValue') {
      if (name === 'length' || name === 'count') return runtime(0);
      if (name === 'list') return runtime([]);
      if (name === 'join') return text('');
    }
    if (name === 'join' && isList(operand))
      return super.evaluate({ ...node, operand: held(runtime(operand.value.map(str))) } as Node, environment);
    if (name === 'count')
      return super.evaluate({ ...node, operand: held(operand), filter: { ...filter, value: 'length' } } as Node, environment);
    if (name === 'list' && operand.type === 'StringValue') return runtime([...(operand as Text).value]);
    return super.evaluate({ ...node, operand: held(operand) } as Node, environment);
  }

  /** Methods of strings that take the characters to strip. */
  private call(node: Node, environment: Scope): Value {
    const callee = node.callee as Node;
    if (callee.type !== 'MemberExpression' || callee.computed) return super.evaluate(node, environment);
    const method = (callee.property as Node).value;
    const object = this.evaluate(callee.object as Node, environment);
    const args = node.args as Node[];
    if (object.type === 'StringValue' && args.length === 1 && (method === 'strip' || method === 'lstrip' || method === 'rstrip')) {
      const characters = this.evaluate(args[0], environment);
      if (characters.type === 'StringValue') {
        const stripped = new Set((characters as Text).value);
        const all = [...(object as Text).value];
        let [from, to] = [0, all.length];
        if (method !== 'rstrip') while (from < to && stripped.has(all[from])) from++;
        if (method !== 'lstrip') while (to > from && stripped.has(all[to - 1])) to--;
        return text(all.slice(from, to).join(''));
      }
    }
    return super.evaluate({ ...node, callee: { ...callee, object: held(object) } } as Node, environment);
  }
}

/** A node that stands for a value that is known already. */
const held = (value: Value): Node => ({ type: 'Held', value }) as unknown as Node;

/** Nodes whose value `{{ }}` prints. */
const expressions = new Set([
  'Identifier',
  'MemberExpression',
  'CallExpression',
  'BinaryExpression',
  'FilterExpression',
  'TestExpression',
  'UnaryExpression',
  'Ternary',
  'SelectExpression',
]);
/** Filters that turn whatever they get into text first. */
const textFilters = new Set(['trim', 'upper', 'lower', 'title', 'capitalize', 'replace', 'indent']);

/** The library exports no classes of values; its environment makes them. */
const runtime = (value: unknown): Value => new Environment().set('value', value);
const text = (value: string): Text => runtime(value) as Text;

type List = Value & { value: Value[] };
const isList = (value: Value): value is List => value.type === 'ArrayValue' || value.type === 'TupleValue';

/** Python's `str`. */
function str(value: Value): string {
  if (value.type === 'StringValue') return (value as Text).value;
  return value.type === 'UndefinedValue' ? '' : repr(value);
}

/** Python's `repr`. */
function repr(value: Value): string {
  switch (value.type) {
    case 'NullValue':
      return 'None';
    case 'UndefinedValue':
      return 'Undefined';
    case 'BooleanValue':
      return value.value ? 'True' : 'False';
    case 'StringValue':
      return quoted((value as Text).value);
    case 'FloatValue':
      return float(value.value as number);
    case 'ArrayValue':
      return `[${(value as List).value.map(repr).join(', ')}]`;
    case 'TupleValue': {
      const items = (value as List).value.map(repr);
      return `(${items.join(', ')}${items.length === 1 ? ',' : ''})`;
    }
    case 'ObjectValue':
    case 'NamespaceValue':
      return `{${[...(value.value as Map<string, Value>)].map(([key, item]) => `${quoted(key)}: ${repr(item)}`).join(', ')}}`;
    default:
      return value.toString();
  }
}

function quoted(value: string): string {
  const quote = value.includes("'") && !value.includes('"') ? '"' : "'";
  const escaped = Array.from(value, (c) => {
    if (c === quote || c === '\\') return `\\${c}`;
    const short = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }[c];
    if (short) return short;
    const code = c.codePointAt(0)!;
    if (/^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u.test(c)) return c;
    if (code < 0x100) return `\\x${code.toString(16).padStart(2, '0')}`;
    return code < 0x10000 ? `\\u${code.toString(16).padStart(4, '0')}` : `\\U${code.toString(16).padStart(8, '0')}`;
  });
  return quote + escaped.join('') + quote;
}

function float(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e16 || size < 1e-4)) return value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2');
  return Number.isInteger(value) ? `${Object.is(value, -0) ? '-' : ''}${value}.0` : String(value);
}

function typeName(value: Value): string {
  const names: Record<string, string> = {
    ArrayValue: 'list',
    TupleValue: 'tuple',
    ObjectValue: 'dict',
    NullValue: 'NoneType',
    BooleanValue: 'bool',
    IntegerValue: 'int',
    FloatValue: 'float',
    StringValue: 'str',
  };
  return names[value.type] ?? value.type;
}

/** What an expression is called in a message about it. */
function nameOf(node: Node): string {
  if (node.type === 'Identifier') return `'${String(node.value)}'`;
  if (node.type !== 'MemberExpression') return 'a part of a sum';
  const property = node.property as Node;
  return `'${String(property.value ?? '')}' of ${nameOf(node.object as Node)}`;
}

const months = 'January February March April May June July August September October November December'.split(' ');
const days = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ');

/** The fields of Python's `strftime` that templates use, in its C locale. */
function strftime(date: Date, format: string): string {
  const two = (n: number) => String(n).padStart(2, '0');
  const fields: Record<string, () => string> = {
    '%Y': () => String(date.getFullYear()),
    '%y': () => two(date.getFullYear() % 100),
    '%m': () => two(date.getMonth() + 1),
    '%d': () => two(date.getDate()),
    '%B': () => months[date.getMonth()],
    '%b': () => months[date.getMonth()].slice(0, 3),
    '%A': () => days[date.getDay()],
    '%a': () => days[date.getDay()].slice(0, 3),
    '%H': () => two(date.getHours()),
    '%M': () => two(date.getMinutes()),
    '%S': () => two(date.getSeconds()),
    '%%': () => '%',
  };
  return format.replace(/%[A-Za-z%]/g, (field) => fields[field]?.() ?? field);
}
