package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// setMark changes bits of the packet's mark.
func (c *compiler) setMark() error {
	word := c.next()
	bits, err := c.bits()
	if err != nil {
		return err
	}
	change := &expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: 4}
	switch word {
	case "and":
		change.Mask, change.Xor = bits, make([]byte, 4)
	case "or": // bits that are set become zero, then one
		change.Mask, change.Xor = make([]byte, 4), bits
		for i, b := range bits {
			change.Mask[i] = ^b
		}
	default:
		return fmt.Errorf("nft: a mark is changed by and or or, not %q", word)
	}
	c.emit(&expr.Meta{Key: expr.MetaKeyMARK, Register: reg(0)}, change,
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg(0), SourceRegister: true})
	return nil
}

// bits reads a number of 32 bits.
func (c *compiler) bits() ([]byte, error) {
	n, err := strconv.ParseUint(c.next(), 0, 32)
	if err != nil {
		return nil, fmt.Errorf("nft: %w", err)
	}
	return binary.NativeEndian.AppendUint32(nil, uint32(n)), nil
}

func (c *compiler) reject() error {
	code := uint8(3) // port unreachable (RFC 792)
	if c.accept("with", "icmp", "type") {
		switch w := c.next(); w {
		case "port-unreachable":
		case "host-unreachable":
			code = 1
		default:
			return fmt.Errorf("nft: unknown icmp type %q", w)
		}
	}
	if c.v6 {
		code = map[uint8]uint8{3: 4, 1: 3}[code] // the same in ICMPv6 (RFC 4443)
	}
	c.emit(&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: code})
	return nil
}

func (c *compiler) update() error {
	set, ok := strings.CutPrefix(c.next(), "@")
	if !ok {
		return fmt.Errorf("nft: update needs a @set")
	}
	if err := c.expect("{"); err != nil {
		return err
	}
	if _, err := c.source(); err != nil {
		return err
	}
	c.emit(&expr.Dynset{SrcRegKey: reg(0), SetName: set, Operation: unix.NFT_DYNSET_OP_UPDATE})
	return c.expect("}")
}

// nat is the statement itself: address in the first register, port in the next.
func (c *compiler) nat() *expr.NAT {
	if c.v6 {
		return &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV6, RegAddrMin: reg(0), RegProtoMin: reg(4)}
	}
	return &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg(0), RegProtoMin: reg(1)}
}

// address is the type of the family's addresses.
func (c *compiler) address() string {
	if c.v6 {
		return "ipv6_addr"
	}
	return "ipv4_addr"
}

func (c *compiler) dnat() error {
	if err := c.expect("to"); err != nil {
		return err
	}
	if ap, err := netip.ParseAddrPort(c.peek()); err == nil && ap.Addr().Is6() == c.v6 {
		c.next()
		nat := c.nat()
		c.emit(
			&expr.Immediate{Register: nat.RegAddrMin, Data: ap.Addr().AsSlice()},
			&expr.Immediate{Register: nat.RegProtoMin, Data: binary.BigEndian.AppendUint16(nil, ap.Port())},
			nat)
		return nil
	}
	types, err := c.source()
	if err != nil {
		return err
	}
	if err := c.expect("map"); err != nil {
		return err
	}
	if err := c.lookupMap(types, c.address()+" . inet_service"); err != nil {
		return err
	}
	c.emit(c.nat())
	return nil
}

// dup sends a copy of the packet, not tracked, to an address that is a neighbour on
// the interface which a map names.
func (c *compiler) dup() error {
	if err := c.expect("to"); err != nil {
		return err
	}
	to, err := netip.ParseAddr(c.next())
	if err != nil || to.Is6() != c.v6 {
		return fmt.Errorf("nft: dup needs an address of the table's family")
	}
	if err := c.expect("device"); err != nil {
		return err
	}
	types, err := c.source()
	if err != nil {
		return err
	}
	if err := c.expect("map"); err != nil {
		return err
	}
	if err := c.lookupMap(types, "iface_index"); err != nil {
		return err
	}
	c.emit(&expr.Immediate{Register: reg(4), Data: to.AsSlice()},
		&expr.Dup{RegAddr: reg(4), RegDev: reg(0), IsRegDevSet: true})
	return nil
}

// lookupMap reads @map or { key : value, ... } and looks the source up in it.
func (c *compiler) lookupMap(types, value string) error {
	dest := reg(0)
	if value == "verdict" {
		dest = unix.NFT_REG_VERDICT
	}
	if name, ok := strings.CutPrefix(c.peek(), "@"); ok {
		c.next()
		c.emit(&expr.Lookup{SourceRegister: reg(0), DestRegister: dest, IsDestRegSet: true, SetName: name})
		return nil
	}
	key, err := datatype(types)
	if err != nil {
		return err
	}
	val, err := datatype(value)
	if err != nil {
		return err
	}
	s := inlineSet{set: &nftables.Set{Anonymous: true, Constant: true, IsMap: true, KeyType: key, DataType: val}}
	if types == "integer" {
		// numgen's numbers are in the machine's order of bytes.
		s.set.KeyByteOrder = binaryutil.NativeEndian
	}
	if err := c.expect("{"); err != nil {
		return err
	}
	for {
		k := c.until(":")
		v := c.until(",", "}")
		e, err := element(Set{Key: types, Value: value}, Element{Key: k, Value: v})
		if err != nil {
			return err
		}
		s.elements = append(s.elements, e)
		if c.ended == "}" {
			break
		}
		if c.ended == "" {
			return fmt.Errorf("nft: a map without end")
		}
	}
	c.out.sets = append(c.out.sets, s)
	c.emit(&inlineLookup{Lookup: expr.Lookup{SourceRegister: reg(0), DestRegister: dest, IsDestRegSet: true}, set: s.set})
	return nil
}
