package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

var protocols = map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}

var datatypes = map[string]nftables.SetDatatype{
	"ipv4_addr":    nftables.TypeIPAddr,
	"ipv6_addr":    nftables.TypeIP6Addr,
	"ifname":       nftables.TypeIFName,
	"iface_index":  nftables.TypeIFIndex,
	"inet_proto":   nftables.TypeInetProto,
	"inet_service": nftables.TypeInetService,
	"integer":      nftables.TypeInteger,
	"mark":         nftables.TypeMark,
	"verdict":      nftables.TypeVerdict,
}

// datatype finds the type of a key or value: "ipv4_addr . inet_service".
func datatype(s string) (nftables.SetDatatype, error) {
	names := strings.Split(s, " . ")
	types := make([]nftables.SetDatatype, len(names))
	for i, n := range names {
		t, ok := datatypes[n]
		if !ok {
			return nftables.TypeInvalid, fmt.Errorf("nft: unknown type %q", n)
		}
		types[i] = t
	}
	if len(types) == 1 {
		return types[0], nil
	}
	return nftables.ConcatSetType(types...)
}

// encode gives the kernel's form of a key or value. Each part of several is padded
// to 4 bytes.
func encode(types, value string) ([]byte, error) {
	ts, vs := strings.Split(types, " . "), strings.Split(value, " . ")
	if len(ts) != len(vs) {
		return nil, fmt.Errorf("nft: %q is not of the form %q", value, types)
	}
	var out []byte
	for i, t := range ts {
		b, err := encodeOne(t, vs[i])
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
		for len(ts) > 1 && len(out)%4 != 0 {
			out = append(out, 0)
		}
	}
	return out, nil
}

func encodeOne(typ, v string) ([]byte, error) {
	switch typ {
	case "ipv4_addr":
		a, err := netip.ParseAddr(v)
		if err != nil || !a.Is4() {
			return nil, fmt.Errorf("nft: %q is no IPv4 address", v)
		}
		return a.AsSlice(), nil
	case "ipv6_addr":
		a, err := netip.ParseAddr(v)
		if err != nil || !a.Is6() || a.Zone() != "" {
			return nil, fmt.Errorf("nft: %q is no IPv6 address", v)
		}
		return a.AsSlice(), nil
	case "ifname":
		if v == "" || len(v) >= unix.IFNAMSIZ {
			return nil, fmt.Errorf("nft: %q is no interface name", v)
		}
		return append([]byte(v), make([]byte, unix.IFNAMSIZ-len(v))...), nil
	case "inet_proto":
		p, ok := protocols[v]
		if !ok {
			return nil, fmt.Errorf("nft: unknown protocol %q", v)
		}
		return []byte{p}, nil
	case "inet_service":
		n, err := strconv.ParseUint(v, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("nft: %q is no port", v)
		}
		return binary.BigEndian.AppendUint16(nil, uint16(n)), nil
	case "integer", "mark", "iface_index":
		n, err := strconv.ParseUint(v, 0, 32)
		if err != nil {
			return nil, fmt.Errorf("nft: %q is no number", v)
		}
		return binary.NativeEndian.AppendUint32(nil, uint32(n)), nil
	}
	return nil, fmt.Errorf("nft: type %q has no values", typ)
}

// decode is the way back from the kernel's form.
func decode(types string, b []byte) (string, error) {
	ts := strings.Split(types, " . ")
	var out []string
	for _, t := range ts {
		size := int(datatypes[t].Bytes)
		if size == 0 || len(b) < size {
			return "", fmt.Errorf("nft: % x is not of the form %q", b, types)
		}
		v := b[:size]
		switch t {
		case "ipv4_addr":
			out = append(out, netip.AddrFrom4([4]byte(v)).String())
		case "ipv6_addr":
			out = append(out, netip.AddrFrom16([16]byte(v)).String())
		case "ifname":
			out = append(out, strings.TrimRight(string(v), "\x00"))
		case "inet_proto":
			name := strconv.Itoa(int(v[0]))
			for n, p := range protocols {
				if p == v[0] {
					name = n
				}
			}
			out = append(out, name)
		case "inet_service":
			out = append(out, strconv.Itoa(int(binary.BigEndian.Uint16(v))))
		case "integer", "mark", "iface_index":
			out = append(out, strconv.FormatUint(uint64(binary.NativeEndian.Uint32(v)), 10))
		}
		if len(ts) > 1 {
			size = (size + 3) &^ 3
		}
		b = b[min(size, len(b)):]
	}
	return strings.Join(out, " . "), nil
}

// parseVerdict reads "drop", "accept", "return", "goto c", "jump c".
func parseVerdict(s string) (*expr.Verdict, error) {
	word, chain, _ := strings.Cut(s, " ")
	kinds := map[string]expr.VerdictKind{
		"accept": expr.VerdictAccept, "drop": expr.VerdictDrop, "return": expr.VerdictReturn,
		"goto": expr.VerdictGoto, "jump": expr.VerdictJump,
	}
	kind, ok := kinds[word]
	if !ok || (chain != "") != (word == "goto" || word == "jump") || strings.Contains(chain, " ") {
		return nil, fmt.Errorf("nft: %q is no verdict", s)
	}
	return &expr.Verdict{Kind: kind, Chain: chain}, nil
}

func verdictText(v *expr.Verdict) string {
	switch v.Kind {
	case expr.VerdictAccept:
		return "accept"
	case expr.VerdictDrop:
		return "drop"
	case expr.VerdictReturn:
		return "return"
	case expr.VerdictGoto:
		return "goto " + v.Chain
	case expr.VerdictJump:
		return "jump " + v.Chain
	}
	return fmt.Sprintf("verdict %d", v.Kind)
}
