package custom

import (
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/dynamic"
)

// converter gives an object another version. It leaves its argument alone; what it
// returns may share parts with it.
type converter interface {
	convert(o *dynamic.Object, version string) (*dynamic.Object, error)
}

func newConverter(d *Definition, c *apiextensionsv1.CustomResourceConversion, hooks *callout.Clients) converter {
	if c == nil || c.Strategy != apiextensionsv1.WebhookConverter || c.Webhook == nil || c.Webhook.ClientConfig == nil {
		return none{}
	}
	return newWebhook(d, c.Webhook, hooks)
}

// none is the strategy None: all versions have the same fields.
type none struct{}

func (none) convert(o *dynamic.Object, version string) (*dynamic.Object, error) {
	out := *o
	out.Version = version
	return &out, nil
}

// convertTo converts without pruning, as server-side apply compares versions.
func (d *Definition) convertTo(in kinds.Object, version string) (*dynamic.Object, error) {
	o, ok := in.(*dynamic.Object)
	if !ok {
		return nil, fmt.Errorf("custom: %T is no object of %s", in, d.name)
	}
	if o.Version == version {
		return o, nil
	}
	if d.versions[o.Version] == nil {
		return nil, fmt.Errorf("request to convert CR from an invalid group/version: %s/%s", d.group, o.Version)
	}
	if d.versions[version] == nil {
		return nil, fmt.Errorf("request to convert CR to an invalid group/version: %s/%s", d.group, version)
	}
	return d.convert.convert(o, version)
}

// to gives an object the version, without the fields that its schema lacks.
func (d *Definition) to(in kinds.Object, version string) (*dynamic.Object, error) {
	if o, ok := in.(*dynamic.Object); ok && o.Version == version {
		return o, nil
	}
	out, err := d.convertTo(in, version)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	out.Fields = runtime.DeepCopyJSON(out.Fields) // pruned below, and shared so far
	if _, err := d.versions[version].coerceFields(fieldsOf(out), false, false); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return out, nil
}

// toCache is the form in which an object is stored and kept: that of the storage
// version, pruned, with its defaults, as if it had been read back.
func (d *Definition) toCache(in kinds.Object) (kinds.Object, error) {
	o, ok := in.(*dynamic.Object)
	if !ok {
		return nil, fmt.Errorf("custom: %T is no object of %s", in, d.name)
	}
	converted, err := d.convertTo(o, d.storage)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	c := *converted
	// What follows writes into the maps, which may be those of the old object.
	c.Fields = runtime.DeepCopyJSON(converted.Fields)
	o = &c
	s := d.versions[d.storage]
	if _, err := s.coerceFields(fieldsOf(o), false, false); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	s.defaults(o.Fields)
	return o, nil
}
