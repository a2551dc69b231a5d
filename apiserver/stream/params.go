package stream

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// params reads a query as Kubernetes converts it to options. The first mistake is
// kept and answered as BadRequest.
type params struct {
	q   url.Values
	err error
}

// flag is false where the parameter is absent, "false" or "0"; any other value,
// even none, means true (apimachinery's runtime.Convert_Slice_string_To_bool).
func (p *params) flag(name string) bool {
	v, ok := p.q[name]
	return ok && len(v) > 0 && v[0] != "0" && !strings.EqualFold(v[0], "false")
}

func (p *params) text(name string) string { return p.q.Get(name) }

// number is nil where the parameter is absent.
func (p *params) number(name string) *int64 {
	v, ok := p.q[name]
	if !ok || len(v) == 0 {
		return nil
	}
	n, err := strconv.ParseInt(v[0], 10, 64)
	if err != nil {
		p.fail(err)
		return nil
	}
	return &n
}

func (p *params) numbers(name string) []int32 {
	var out []int32
	for _, v := range p.q[name] {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil {
			var bad *strconv.NumError
			if errors.As(err, &bad) {
				bad.Func = "ParseUint"
			}
			p.fail(fmt.Errorf("cannot convert to []int32: %w", err))
		}
		out = append(out, int32(n))
	}
	return out
}

// moment is nil where the parameter is absent or empty.
func (p *params) moment(name string) *metav1.Time {
	v := p.q.Get(name)
	if v == "" {
		return nil
	}
	t, err := time.Parse(time.RFC3339, v)
	if err != nil {
		p.fail(err)
		return nil
	}
	return &metav1.Time{Time: t}
}

func (p *params) fail(err error) {
	if p.err == nil {
		p.err = apierrors.NewBadRequest(err.Error())
	}
}
