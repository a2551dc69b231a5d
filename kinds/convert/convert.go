// Package convert turns an old form of a kind into its hub and back. Fields of the
// same name are copied, whatever Go types they have in the two versions; what a
// version says differently is a hook. The group packages build their old forms
// with it.
//
// What two types have in common is found out by reflection once, when the pair is
// first converted, and kept as a plan.
package convert

import (
	"fmt"
	"reflect"
	"sync"
)

// Converter converts between the types of one kind. It may be used by many at once.
type Converter struct {
	hooks map[pair]hook

	mu    sync.RWMutex
	plans map[pair]*plan
}

type pair struct{ in, out reflect.Type }

type hook struct {
	f       func(in, out reflect.Value) error
	instead bool
}

// plan copies a value; f is set once the plan is complete, which matters to types
// that contain themselves.
type plan struct {
	f func(in, out reflect.Value) error
}

// Hook is a rule for one pair of types, wherever it is met.
type Hook func(*Converter)

// After runs when the fields of the same names have been copied.
func After[I, O any](f func(in *I, out *O) error) Hook { return add(f, false) }

// Instead runs where fields of the same names would have been copied.
func Instead[I, O any](f func(in *I, out *O) error) Hook { return add(f, true) }

func add[I, O any](f func(in *I, out *O) error, instead bool) Hook {
	p := pair{reflect.TypeFor[I](), reflect.TypeFor[O]()}
	return func(c *Converter) {
		c.hooks[p] = hook{instead: instead, f: func(in, out reflect.Value) error {
			return f(addressable(in).Interface().(*I), out.Addr().Interface().(*O))
		}}
	}
}

// addressable is a pointer to v, of a copy where v has no address.
func addressable(v reflect.Value) reflect.Value {
	if v.CanAddr() {
		return v.Addr()
	}
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	return p
}

// New makes a converter with its hooks.
func New(hooks ...Hook) *Converter {
	c := &Converter{hooks: map[pair]hook{}, plans: map[pair]*plan{}}
	for _, h := range hooks {
		h(c)
	}
	return c
}

// Convert fills out from in; both are pointers to structs. in is left alone, parts
// of it may be shared by out afterwards.
func (c *Converter) Convert(in, out any) error {
	i, o := reflect.ValueOf(in), reflect.ValueOf(out)
	if i.Kind() != reflect.Pointer || o.Kind() != reflect.Pointer || i.IsNil() || o.IsNil() {
		return fmt.Errorf("convert %T to %T: not pointers to values", in, out)
	}
	p, err := c.planFor(pair{i.Type().Elem(), o.Type().Elem()})
	if err == nil {
		err = p.f(i.Elem(), o.Elem())
	}
	if err != nil {
		return fmt.Errorf("convert %T to %T: %w", in, out, err)
	}
	return nil
}

func (c *Converter) planFor(p pair) (*plan, error) {
	c.mu.RLock()
	have := c.plans[p]
	c.mu.RUnlock()
	if have != nil {
		return have, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.build(p)
}

// build makes the plan of a pair, and of what is in it. The lock is held.
func (c *Converter) build(p pair) (*plan, error) {
	if have := c.plans[p]; have != nil {
		return have, nil
	}
	made := &plan{}
	c.plans[p] = made
	f, err := c.steps(p)
	if err != nil {
		delete(c.plans, p)
		return nil, err
	}
	made.f = f
	return made, nil
}

func (c *Converter) steps(p pair) (func(in, out reflect.Value) error, error) {
	h, hooked := c.hooks[p]
	if hooked && h.instead {
		return h.f, nil
	}
	f, err := c.copying(p)
	if err != nil || !hooked {
		return f, err
	}
	return func(in, out reflect.Value) error {
		if err := f(in, out); err != nil {
			return err
		}
		return h.f(in, out)
	}, nil
}

func (c *Converter) copying(p pair) (func(in, out reflect.Value) error, error) {
	in, out := p.in, p.out
	switch {
	case in == out:
		return func(in, out reflect.Value) error { out.Set(in); return nil }, nil
	case in.Kind() == reflect.Pointer && out.Kind() == reflect.Pointer:
		return c.pointer(p)
	case in.Kind() == reflect.Pointer:
		return c.dereference(p)
	case out.Kind() == reflect.Pointer:
		return c.reference(p)
	case in.Kind() == reflect.Struct && out.Kind() == reflect.Struct:
		return c.structure(p)
	case in.Kind() == reflect.Slice && out.Kind() == reflect.Slice:
		return c.slice(p)
	case in.Kind() == reflect.Map && out.Kind() == reflect.Map && in.Key().Kind() == out.Key().Kind() && in.Key().ConvertibleTo(out.Key()):
		return c.mapping(p)
	case in.Kind() == out.Kind() && in.ConvertibleTo(out), number(in) && number(out):
		return func(in, out reflect.Value) error { out.Set(in.Convert(p.out)); return nil }, nil
	}
	return nil, fmt.Errorf("no way from %v to %v", in, out)
}

func number(t reflect.Type) bool { return t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64 }

func (c *Converter) pointer(p pair) (func(in, out reflect.Value) error, error) {
	elem, err := c.build(pair{p.in.Elem(), p.out.Elem()})
	if err != nil {
		return nil, err
	}
	return func(in, out reflect.Value) error {
		if in.IsNil() {
			out.SetZero()
			return nil
		}
		made := reflect.New(p.out.Elem())
		if err := elem.f(in.Elem(), made.Elem()); err != nil {
			return err
		}
		out.Set(made)
		return nil
	}, nil
}

// dereference turns what may be absent into what may be zero.
func (c *Converter) dereference(p pair) (func(in, out reflect.Value) error, error) {
	elem, err := c.build(pair{p.in.Elem(), p.out})
	if err != nil {
		return nil, err
	}
	return func(in, out reflect.Value) error {
		if in.IsNil() {
			out.SetZero()
			return nil
		}
		return elem.f(in.Elem(), out)
	}, nil
}

// reference turns what may be zero into what may be absent.
func (c *Converter) reference(p pair) (func(in, out reflect.Value) error, error) {
	elem, err := c.build(pair{p.in, p.out.Elem()})
	if err != nil {
		return nil, err
	}
	return func(in, out reflect.Value) error {
		if in.IsZero() {
			out.SetZero()
			return nil
		}
		made := reflect.New(p.out.Elem())
		if err := elem.f(in, made.Elem()); err != nil {
			return err
		}
		out.Set(made)
		return nil
	}, nil
}

// structure copies fields by name. What only one side has stays as it is: the
// hooks, or nobody, know where it goes.
func (c *Converter) structure(p pair) (func(in, out reflect.Value) error, error) {
	type step struct {
		from, to int
		plan     *plan
	}
	var steps []step
	for to := range p.out.NumField() {
		f := p.out.Field(to)
		from, ok := p.in.FieldByName(f.Name)
		if !ok || len(from.Index) != 1 || !f.IsExported() {
			continue
		}
		made, err := c.build(pair{from.Type, f.Type})
		if err != nil {
			if _, hooked := c.hooks[p]; hooked {
				continue // same name, other meaning: the hook's business
			}
			return nil, fmt.Errorf("%v.%s: %w", p.out, f.Name, err)
		}
		steps = append(steps, step{from.Index[0], to, made})
	}
	return func(in, out reflect.Value) error {
		for _, s := range steps {
			if err := s.plan.f(in.Field(s.from), out.Field(s.to)); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (c *Converter) slice(p pair) (func(in, out reflect.Value) error, error) {
	elem, err := c.build(pair{p.in.Elem(), p.out.Elem()})
	if err != nil {
		return nil, err
	}
	return func(in, out reflect.Value) error {
		if in.IsNil() {
			out.SetZero()
			return nil
		}
		made := reflect.MakeSlice(p.out, in.Len(), in.Len())
		for i := range in.Len() {
			if err := elem.f(in.Index(i), made.Index(i)); err != nil {
				return err
			}
		}
		out.Set(made)
		return nil
	}, nil
}

func (c *Converter) mapping(p pair) (func(in, out reflect.Value) error, error) {
	elem, err := c.build(pair{p.in.Elem(), p.out.Elem()})
	if err != nil {
		return nil, err
	}
	return func(in, out reflect.Value) error {
		if in.IsNil() {
			out.SetZero()
			return nil
		}
		made := reflect.MakeMapWithSize(p.out, in.Len())
		for it := in.MapRange(); it.Next(); {
			v := reflect.New(p.out.Elem()).Elem()
			if err := elem.f(it.Value(), v); err != nil {
				return err
			}
			made.SetMapIndex(it.Key().Convert(p.out.Key()), v)
		}
		out.Set(made)
		return nil
	}, nil
}
