package builds

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"

	"skiff.dev/skiff/engine/build"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// buffered is a connection of which the server has read ahead.
type buffered struct {
	net.Conn
	in *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.in.Read(p) }

// params are a build's options as the query has them.
type params struct {
	buildkit, quiet, remove bool
	id, session, remote     string
	dockerfile              string
	args                    map[string]*string
	labels                  map[string]string
	tags                    []string // normalised
	platform                string
	outputs                 []output
	request                 build.Request
}

// output is an element of the parameter outputs.
type output struct {
	Type  string
	Attrs map[string]string
}

// readParams reads the query; the error is the answer.
func readParams(r *route.Request) (*params, error) {
	p := &params{id: r.Form.Get("buildid"), session: r.Form.Get("session"), remote: r.Form.Get("remote")}
	p.quiet, p.remove = r.Bool("q"), r.BoolOr("rm", true) || r.Bool("forcerm")
	p.dockerfile = r.Form.Get("dockerfile")
	q := &p.request
	q.NoCache, q.Pull, q.Target, q.Network = r.Bool("nocache"), r.Bool("pull"), r.Form.Get("target"), r.Form.Get("networkmode")
	q.ExtraHosts = r.Form["extrahosts"]
	q.ShmSize = r.Int64OrZero("shmsize")
	q.Limits = build.Resources{
		Memory: r.Int64OrZero("memory"), MemorySwap: r.Int64OrZero("memswap"),
		CPUShares: r.Int64OrZero("cpushares"), CPUPeriod: r.Int64OrZero("cpuperiod"), CPUQuota: r.Int64OrZero("cpuquota"),
		CPUSetCPUs: r.Form.Get("cpusetcpus"), CPUSetMems: r.Form.Get("cpusetmems"),
	}
	switch v := r.Form.Get("version"); v {
	case "", "1":
	case "2":
		p.buildkit = true
	default:
		return nil, route.Invalidf("invalid version %q", v)
	}
	if text := r.Form.Get("outputs"); text != "" && r.Since("1.40") {
		if err := json.Unmarshal([]byte(text), &p.outputs); err != nil {
			return nil, route.Invalidf("invalid outputs specified: %w", err)
		}
	}
	if r.Bool("squash") {
		return nil, route.Invalidf("squash is only supported with experimental mode")
	}
	if text := r.Form.Get("platform"); text != "" && r.Since("1.32") {
		spec, err := platforms.Parse(text)
		if err != nil {
			return nil, route.Invalid(err)
		}
		p.platform = platforms.FormatAll(spec)
	}
	if text := r.Form.Get("ulimits"); text != "" {
		var limits []struct {
			Name       string
			Soft, Hard int64
		}
		if err := json.Unmarshal([]byte(text), &limits); err != nil {
			return nil, route.Invalidf("error reading ulimit settings: %w", err)
		}
		for _, l := range limits {
			q.Ulimits = append(q.Ulimits, fmt.Sprintf("%s=%d:%d", l.Name, l.Soft, l.Hard))
		}
	}
	for _, j := range []struct {
		key, what string
		to        any
	}{{"buildargs", "build args", &p.args}, {"labels", "labels", &p.labels}, {"cachefrom", "cache-from", &q.CacheFrom}} {
		if text := r.Form.Get(j.key); text != "" {
			if err := json.Unmarshal([]byte(text), j.to); err != nil {
				return nil, route.Invalidf("error reading %s: %w", j.what, err)
			}
		}
	}
	q.Args = map[string]string{}
	for k, v := range p.args {
		if v != nil {
			q.Args[k] = *v
		}
	}
	q.Labels, q.Platform = p.labels, p.platform
	var err error
	p.tags, err = readTags(r.Form["t"])
	return p, err
}

// readTags checks names and drops what is given twice.
func readTags(list []string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	for _, t := range list {
		if t == "" {
			continue
		}
		ref, err := reference.ParseNormalizedNamed(t)
		if err != nil {
			return nil, route.Internal(err)
		}
		if _, digested := ref.(reference.Canonical); digested {
			return nil, route.Internalf("build tag cannot contain a digest")
		}
		name := reference.TagNameOnly(ref).String()
		if !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out, nil
}

// keepFor reads the filter until: a duration, or a time.
func keepFor(text string, now time.Time) (time.Duration, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return d, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return now.Sub(t), nil
		}
	}
	seconds, _, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		var num *strconv.NumError
		if errors.As(err, &num) {
			err = num.Err
		}
		return 0, fmt.Errorf("\"until\" filter expects a duration (e.g., '24h') or a timestamp: failed to parse value as time or duration: invalid seconds %q: %w", seconds, err)
	}
	return now.Sub(time.Unix(n, 0)), nil
}
