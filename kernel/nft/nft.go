// Package nft is the kernel room's part for nftables tables of the ip and ip6 families,
// changed in transactions: a Tx is a list of changes that the kernel makes all
// together or not at all. Rules, keys and values are written in nft's own
// language, of which the package knows the part that compile.go lists; Conn is
// the contract, Open gives the kernel's, Fake one in memory that dumps as text.
package nft

import (
	"errors"
	"time"
)

// ErrNotFound says that a table, chain, set or element that a change needs is not
// there.
var ErrNotFound = errors.New("nft: not found")

// ErrNone says that the kernel has no nftables and cannot load them.
var ErrNone = errors.New("nft: the kernel has no nftables")

// Conn changes the tables of one network namespace.
type Conn interface {
	// Apply makes all changes of tx to its table, or none.
	Apply(tx *Tx) error
	// Exists tells whether the table of the ip family is there.
	Exists(table string) (bool, error)
	// Elements lists what is in a set or map of the ip family.
	Elements(table string, s Set) ([]Element, error)
	// ForeignDrops names tables other than the given one that drop forwarded
	// packets which no rule accepts.
	ForeignDrops(table string) ([]string, error)
	Close() error
}

// Chain is a list of rules. With a Hook it is a base chain, which the kernel calls
// itself, of Type "filter" or "nat", at Priority; its policy is accept.
type Chain struct {
	Name     string
	Type     string
	Hook     string // prerouting, input, forward, output, postrouting
	Priority int
}

// Set is a set, or a map where Value is given. Key and Value are types in nft's
// words: ipv4_addr, ipv6_addr, inet_proto, inet_service, mark (any number), ifname,
// iface_index, verdict, joined by " . ".
type Set struct {
	Name       string
	Key, Value string
	// Dynamic sets are filled by rules; Timeout is how long an element stays after
	// it was last updated.
	Dynamic bool
	Timeout time.Duration
}

// Element is one key of a set, and its value in a map, as nft writes them:
// "10.96.0.1 . tcp . 443" and "goto svc/default/kubernetes/tcp/443".
type Element struct {
	Key, Value string
	// Expires is what is left of a dynamic element's time.
	Expires time.Duration
}

// Tx collects changes of one table. The zero Tx has no table: use NewTx.
type Tx struct {
	Table string
	IPv6  bool // the table is of the ip6 family
	ops   []op
}

type verb int

const (
	addTable verb = iota
	deleteTable
	addChain
	flushChain
	deleteChain
	addRule
	addSet
	deleteSet
	addElements
	deleteElements
)

type op struct {
	verb     verb
	chain    Chain
	rule     string
	set      Set
	elements []Element
}

// NewTx begins a list of changes to table.
func NewTx(table string) *Tx { return &Tx{Table: table} }

// NewTx6 begins a list of changes to a table of the ip6 family.
func NewTx6(table string) *Tx { return &Tx{Table: table, IPv6: true} }

// Len is the number of changes.
func (t *Tx) Len() int { return len(t.ops) }

// Replace begins with an empty table, whether there was one or not.
func (t *Tx) Replace() {
	t.ops = append(t.ops, op{verb: addTable}, op{verb: deleteTable}, op{verb: addTable})
}

// Drop takes the table away, whether there is one or not.
func (t *Tx) Drop() { t.ops = append(t.ops, op{verb: addTable}, op{verb: deleteTable}) }

// AddChain makes a chain.
func (t *Tx) AddChain(c Chain) { t.ops = append(t.ops, op{verb: addChain, chain: c}) }

// FlushChain takes all rules from a chain.
func (t *Tx) FlushChain(name string) {
	t.ops = append(t.ops, op{verb: flushChain, chain: Chain{Name: name}})
}

// DeleteChain takes a chain away, to which nothing may lead any more.
func (t *Tx) DeleteChain(name string) {
	t.ops = append(t.ops, op{verb: deleteChain, chain: Chain{Name: name}})
}

// AddRule puts a rule at the end of a chain.
func (t *Tx) AddRule(chain, rule string) {
	t.ops = append(t.ops, op{verb: addRule, chain: Chain{Name: chain}, rule: rule})
}

// AddSet makes a set or map.
func (t *Tx) AddSet(s Set) { t.ops = append(t.ops, op{verb: addSet, set: s}) }

// DeleteSet takes a set away, which no rule may use any more.
func (t *Tx) DeleteSet(s Set) { t.ops = append(t.ops, op{verb: deleteSet, set: s}) }

// AddElements puts elements into a set. One that is there already stays; one that
// is there with another value is an error.
func (t *Tx) AddElements(s Set, e ...Element) {
	if len(e) > 0 {
		t.ops = append(t.ops, op{verb: addElements, set: s, elements: e})
	}
}

// DeleteElements takes elements away; one that is not there is an error.
func (t *Tx) DeleteElements(s Set, e ...Element) {
	if len(e) > 0 {
		t.ops = append(t.ops, op{verb: deleteElements, set: s, elements: e})
	}
}
