package nft

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Fake is tables in memory that refuse what the kernel refuses: rules that do not
// compile, ways to chains and sets that are not there, deleting what is in use.
// The zero Fake is ready.
type Fake struct {
	// Fail, when set, may refuse a transaction before it changes anything.
	Fail func(tx *Tx) error
	// Foreign is what ForeignDrops answers.
	Foreign []string

	mu     sync.Mutex
	tables map[string]*fakeTable // by family and name
	txs    int
}

// key names a table among those of both families, as nft writes it.
func key(table string, v6 bool) string {
	if v6 {
		return "ip6 " + table
	}
	return "ip " + table
}

type fakeTable struct {
	v6     bool
	chains map[string]*fakeChain
	sets   map[string]*fakeSet
}

type fakeChain struct {
	Chain
	rules []string
}

type fakeSet struct {
	Set
	elements map[string]Element
}

var _ Conn = (*Fake)(nil)

func (f *Fake) Close() error { return nil }

// Transactions counts those that were made.
func (f *Fake) Transactions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.txs
}

func (f *Fake) Apply(tx *Tx) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if tx.Len() == 0 {
		return nil
	}
	if f.Fail != nil {
		if err := f.Fail(tx); err != nil {
			return err
		}
	}
	name := key(tx.Table, tx.IPv6)
	t := f.tables[name].clone()
	for _, o := range tx.ops {
		var err error
		if t, err = t.apply(o, tx.IPv6); err != nil {
			return fmt.Errorf("nft: change table %s: %w", tx.Table, err)
		}
	}
	if err := t.check(); err != nil {
		return fmt.Errorf("nft: change table %s: %w", tx.Table, err)
	}
	f.txs++
	if f.tables == nil {
		f.tables = map[string]*fakeTable{}
	}
	if t == nil {
		delete(f.tables, name)
	} else {
		f.tables[name] = t
	}
	return nil
}

func (t *fakeTable) clone() *fakeTable {
	if t == nil {
		return nil
	}
	out := &fakeTable{t.v6, map[string]*fakeChain{}, map[string]*fakeSet{}}
	for n, c := range t.chains {
		out.chains[n] = &fakeChain{c.Chain, slices.Clone(c.rules)}
	}
	for n, s := range t.sets {
		out.sets[n] = &fakeSet{s.Set, maps.Clone(s.elements)}
	}
	return out
}

func (t *fakeTable) apply(o op, v6 bool) (*fakeTable, error) {
	if o.verb == addTable {
		if t == nil {
			t = &fakeTable{v6, map[string]*fakeChain{}, map[string]*fakeSet{}}
		}
		return t, nil
	}
	if t == nil {
		return nil, fmt.Errorf("table: %w", ErrNotFound)
	}
	if o.verb == deleteTable {
		return nil, nil
	}
	switch o.verb {
	case addChain:
		if t.chains[o.chain.Name] == nil {
			t.chains[o.chain.Name] = &fakeChain{Chain: o.chain}
		}
		return t, nil
	case flushChain, deleteChain, addRule:
		return t, t.applyChain(o)
	case addSet:
		if t.sets[o.set.Name] == nil {
			t.sets[o.set.Name] = &fakeSet{o.set, map[string]Element{}}
		}
		return t, nil
	}
	return t, t.applySet(o)
}

func (t *fakeTable) applyChain(o op) error {
	c := t.chains[o.chain.Name]
	if c == nil {
		return fmt.Errorf("chain %s: %w", o.chain.Name, ErrNotFound)
	}
	switch o.verb {
	case flushChain:
		c.rules = nil
	case addRule:
		if _, err := compile(o.rule, t.v6); err != nil {
			return err
		}
		c.rules = append(c.rules, o.rule)
	case deleteChain:
		if len(c.rules) > 0 {
			return fmt.Errorf("chain %s has rules", o.chain.Name)
		}
		delete(t.chains, o.chain.Name)
	}
	return nil
}

func (t *fakeTable) applySet(o op) error {
	s := t.sets[o.set.Name]
	if s == nil {
		return fmt.Errorf("set %s: %w", o.set.Name, ErrNotFound)
	}
	if o.verb == deleteSet {
		delete(t.sets, o.set.Name)
		return nil
	}
	for _, e := range o.elements {
		if _, err := o.element(e); err != nil {
			return err
		}
		have, ok := s.elements[e.Key]
		switch {
		case o.verb == deleteElements && !ok:
			return fmt.Errorf("element %s of %s: %w", e.Key, s.Name, ErrNotFound)
		case o.verb == deleteElements:
			delete(s.elements, e.Key)
		case ok && have.Value != e.Value:
			return fmt.Errorf("element %s of %s exists with another value", e.Key, s.Name)
		default:
			s.elements[e.Key] = e
		}
	}
	return nil
}

// check finds ways that lead nowhere.
func (t *fakeTable) check() error {
	if t == nil {
		return nil
	}
	for _, c := range t.chains {
		for _, r := range c.rules {
			words := tokens(r)
			for i, w := range words {
				if set, ok := strings.CutPrefix(w, "@"); ok && t.sets[set] == nil {
					return fmt.Errorf("rule %q: set %s: %w", r, set, ErrNotFound)
				}
				if (w == "goto" || w == "jump") && (i+1 == len(words) || t.chains[words[i+1]] == nil) {
					return fmt.Errorf("rule %q: chain: %w", r, ErrNotFound)
				}
			}
		}
	}
	for _, s := range t.sets {
		for _, e := range s.elements {
			if w := strings.Fields(e.Value); s.Value == "verdict" && len(w) == 2 && t.chains[w[1]] == nil {
				return fmt.Errorf("element %s of %s: chain %s: %w", e.Key, s.Name, w[1], ErrNotFound)
			}
		}
	}
	return nil
}

func (f *Fake) Exists(table string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tables[key(table, false)] != nil, nil
}

func (f *Fake) Elements(table string, s Set) ([]Element, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.tables[key(table, false)]; t != nil && t.sets[s.Name] != nil {
		return sorted(t.sets[s.Name].elements), nil
	}
	return nil, fmt.Errorf("nft: list set %s: %w", s.Name, ErrNotFound)
}

func sorted(m map[string]Element) []Element {
	return slices.SortedFunc(maps.Values(m), func(a, b Element) int { return strings.Compare(a.Key, b.Key) })
}

func (f *Fake) ForeignDrops(string) ([]string, error) { return f.Foreign, nil }

// Dump writes all tables in nft's own syntax, sorted by name.
func (f *Fake) Dump() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(f.tables)) {
		t := f.tables[name]
		fmt.Fprintf(&b, "table %s {\n", name)
		for _, n := range slices.Sorted(maps.Keys(t.sets)) {
			t.sets[n].dump(&b)
		}
		for _, n := range slices.Sorted(maps.Keys(t.chains)) {
			c := t.chains[n]
			fmt.Fprintf(&b, "\tchain %s {\n", n)
			if c.Hook != "" {
				fmt.Fprintf(&b, "\t\ttype %s hook %s priority %d; policy accept;\n", c.Type, c.Hook, c.Priority)
			}
			for _, r := range c.rules {
				fmt.Fprintf(&b, "\t\t%s\n", r)
			}
			b.WriteString("\t}\n")
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func (s *fakeSet) dump(b *strings.Builder) {
	word, value := "set", ""
	if s.Value != "" {
		word, value = "map", " : "+s.Value
	}
	fmt.Fprintf(b, "\t%s %s {\n\t\ttype %s%s\n", word, s.Name, s.Key, value)
	if s.Dynamic {
		b.WriteString("\t\tflags dynamic,timeout\n")
	}
	if s.Timeout > 0 {
		fmt.Fprintf(b, "\t\ttimeout %ds\n", int(s.Timeout.Seconds()))
	}
	if len(s.elements) > 0 {
		b.WriteString("\t\telements = {")
		for i, e := range sorted(s.elements) {
			if i > 0 {
				b.WriteString(",")
			}
			b.WriteString("\n\t\t\t" + e.Key)
			if e.Value != "" {
				b.WriteString(" : " + e.Value)
			}
		}
		b.WriteString("\n\t\t}\n")
	}
	b.WriteString("\t}\n")
}
