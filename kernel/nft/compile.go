package nft

import (
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// The part of nft's language that rules may use (nft(8)):
//
//	match:     key [!= | ==] value | key { . key } [!=] @set
//	key:       ip saddr | ip daddr | ip6 saddr | ip6 daddr | meta l4proto | th dport |
//	           th ports (both, as one number) | iif | iifname | oifname |
//	           ct original ip daddr | ct original proto-dst | ct state | ct status |
//	           fib saddr type | fib daddr type | meta mark [and N]
//	value:     address, network, protocol, port, "name" or "prefix*", new, dnat, local
//	choice:    source vmap @map | source vmap { key : verdict, ... }
//	source:    key { . key } | numgen random mod N [offset N]
//	statement: accept | drop | return | goto chain | jump chain | masquerade |
//	           reject [with icmp type port-unreachable | host-unreachable] |
//	           update @set { key } | dup to address device key map @map |
//	           dnat to address:port | dnat to source map @map |
//	           dnat to source map { key : address . port, ... } |
//	           meta mark set meta mark or N | meta mark set meta mark and N
//
// nft has no type for "ct original ip daddr" as it is asked for here, and aborts when it
// lists a rule that has it among several keys: it may be compared alone.

// compiled is a rule in the kernel's form. Sets written into the rule come before
// it; exprs refer to them.
type compiled struct {
	exprs []expr.Any
	sets  []inlineSet
}

type inlineSet struct {
	set      *nftables.Set
	elements []nftables.SetElement
}

type compiler struct {
	v6    bool   // the rule is of the ip6 family
	ended string // what the last call of until stopped at
	tok   []string
	out   compiled
}

// compile turns the text of a rule into the kernel's form; v6 tells the family.
func compile(rule string, v6 bool) (*compiled, error) {
	c := &compiler{tok: tokens(rule), v6: v6}
	if len(c.tok) == 0 {
		return nil, fmt.Errorf("nft: empty rule")
	}
	for len(c.tok) > 0 {
		if err := c.statement(); err != nil {
			return nil, fmt.Errorf("rule %q: %w", rule, err)
		}
	}
	return &c.out, nil
}

// tokens splits at blanks; braces and commas stand alone.
func tokens(rule string) []string {
	r := strings.NewReplacer("{", " { ", "}", " } ", ",", " , ")
	return strings.Fields(r.Replace(rule))
}

func (c *compiler) peek() string {
	if len(c.tok) == 0 {
		return ""
	}
	return c.tok[0]
}

func (c *compiler) next() string {
	t := c.peek()
	if len(c.tok) > 0 {
		c.tok = c.tok[1:]
	}
	return t
}

// accept takes the words if they come next.
func (c *compiler) accept(words ...string) bool {
	if len(c.tok) < len(words) {
		return false
	}
	for i, w := range words {
		if c.tok[i] != w {
			return false
		}
	}
	c.tok = c.tok[len(words):]
	return true
}

func (c *compiler) expect(word string) error {
	if got := c.next(); got != word {
		return fmt.Errorf("nft: %q where %q belongs", got, word)
	}
	return nil
}

func (c *compiler) emit(e ...expr.Any) { c.out.exprs = append(c.out.exprs, e...) }

func (c *compiler) statement() error {
	if c.accept("meta", "mark", "set", "meta", "mark") {
		return c.setMark()
	}
	switch word := c.peek(); word {
	case "accept", "drop", "return", "goto", "jump":
		c.next()
		if word == "goto" || word == "jump" {
			word += " " + c.next()
		}
		v, err := parseVerdict(word)
		if err != nil {
			return err
		}
		c.emit(v)
		return nil
	case "masquerade":
		c.next()
		c.emit(&expr.Masq{})
		return nil
	case "reject":
		c.next()
		return c.reject()
	case "update":
		c.next()
		return c.update()
	case "dnat":
		c.next()
		return c.dnat()
	case "dup":
		c.next()
		return c.dup()
	}
	return c.match()
}

// until joins words up to one of the ends, which it takes too.
func (c *compiler) until(ends ...string) string {
	var words []string
	for len(c.tok) > 0 {
		t := c.next()
		for _, e := range ends {
			if t == e {
				c.ended = e
				return strings.Join(words, " ")
			}
		}
		words = append(words, t)
	}
	c.ended = ""
	return strings.Join(words, " ")
}

// element gives an element the library's form.
func element(s Set, e Element) (nftables.SetElement, error) {
	key, err := encode(s.Key, e.Key)
	if err != nil {
		return nftables.SetElement{}, err
	}
	out := nftables.SetElement{Key: key, Timeout: e.Expires}
	switch s.Value {
	case "":
	case "verdict":
		out.VerdictData, err = parseVerdict(e.Value)
	default:
		out.Val, err = encode(s.Value, e.Value)
	}
	return out, err
}

// element is what the operation needs: to delete, the key is enough.
func (o *op) element(e Element) (nftables.SetElement, error) {
	if o.verb == deleteElements {
		return element(Set{Key: o.set.Key}, Element{Key: e.Key})
	}
	return element(o.set, e)
}
