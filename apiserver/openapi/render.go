package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"sort"
)

type tree = map[string]any

// renderer writes operations in the form of one version of OpenAPI, and notes the
// schemas that they refer to.
type renderer struct {
	prefix string
	used   map[string]bool
	shared tree // version 2: parameters by reference
}

func (r *renderer) ref(name string) tree {
	r.used[name] = true
	return tree{"$ref": r.prefix + name}
}

// model is the schema of an answer or a body.
func (r *renderer) model(name string) tree {
	if name == "string" {
		return tree{"type": "string"}
	}
	return r.ref(name)
}

func extensions(o *operation, out tree) tree {
	if o.action != "" {
		out["x-kubernetes-action"] = o.action
	}
	if o.gvk.Kind != "" && o.action != "" {
		out["x-kubernetes-group-version-kind"] = tree{"group": o.gvk.Group, "version": o.gvk.Version, "kind": o.gvk.Kind}
	}
	return out
}

// pathsV3 renders the paths for version 3.
func (r *renderer) pathsV3(paths []*route) tree {
	out := tree{}
	for _, p := range paths {
		item := tree{}
		if len(p.params) > 0 {
			item["parameters"] = paramsV3(p.params)
		}
		for i := range p.operations {
			item[p.operations[i].method] = r.operationV3(&p.operations[i])
		}
		out[p.path] = item
	}
	return out
}

func paramsV3(list []*parameter) []tree {
	out := make([]tree, 0, len(list))
	for _, p := range list {
		t := tree{"name": p.name, "in": p.in, "schema": tree{"type": p.kind, "uniqueItems": true}}
		if p.description != "" {
			t["description"] = p.description
		}
		if p.required {
			t["required"] = true
		}
		out = append(out, t)
	}
	sort.Slice(out, func(i, j int) bool { return out[i]["name"].(string) < out[j]["name"].(string) })
	return out
}

func (r *renderer) operationV3(o *operation) tree {
	out := extensions(o, tree{"description": o.description, "operationId": o.id, "tags": []string{o.tag}})
	if len(o.query) > 0 {
		out["parameters"] = paramsV3(o.query)
	}
	content := func(types []string, model string) tree {
		c := tree{}
		for _, t := range types {
			c[t] = tree{"schema": r.model(model)}
		}
		return c
	}
	if o.body != "" {
		consumes := o.consumes
		if len(consumes) == 0 {
			consumes = anyType
		}
		body := tree{"content": content(consumes, o.body)}
		if o.bodyNeeded {
			body["required"] = true
		}
		out["requestBody"] = body
	}
	responses := tree{}
	for _, c := range o.codes {
		responses[c.number] = tree{"description": c.text, "content": content(o.produces, o.response)}
	}
	responses["401"] = tree{"description": "Unauthorized"}
	out["responses"] = responses
	return out
}

// pathsV2 renders the paths for version 2.
func (r *renderer) pathsV2(paths []*route, out tree) {
	for _, p := range paths {
		item := tree{}
		if len(p.params) > 0 {
			item["parameters"] = r.paramsV2(p.params)
		}
		for i := range p.operations {
			item[p.operations[i].method] = r.operationV2(&p.operations[i])
		}
		out[p.path] = item
	}
}

func (r *renderer) paramsV2(list []*parameter) []tree {
	out := make([]tree, 0, len(list))
	for _, p := range list {
		t := tree{"name": p.name, "in": p.in, "type": p.kind, "uniqueItems": true}
		if p.description != "" {
			t["description"] = p.description
		}
		if p.required {
			t["required"] = true
		}
		if p.in == "path" && p.name == "name" {
			out = append(out, t)
			continue
		}
		h := fnv.New32a()
		h.Write([]byte(p.in + p.kind + p.description))
		key := fmt.Sprintf("%s-%08x", p.name, h.Sum32())
		r.shared[key] = t
		out = append(out, tree{"$ref": "#/parameters/" + key})
	}
	return out
}

func (r *renderer) operationV2(o *operation) tree {
	consumes := o.consumes
	if len(consumes) == 0 {
		consumes = anyType
	}
	out := extensions(o, tree{"description": o.description, "operationId": o.id, "tags": []string{o.tag},
		"schemes": []string{"https"}, "consumes": consumes, "produces": o.produces})
	params := r.paramsV2(o.query)
	if o.body != "" {
		b := tree{"name": "body", "in": "body", "schema": r.model(o.body)}
		if o.bodyNeeded {
			b["required"] = true
		}
		params = append(params, b)
	}
	if len(params) > 0 {
		out["parameters"] = params
	}
	responses := tree{"401": tree{"description": "Unauthorized"}}
	for _, c := range o.codes {
		responses[c.number] = tree{"description": c.text, "schema": r.model(o.response)}
	}
	out["responses"] = responses
	return out
}

// documentV3 joins the parts of a document; schemas are texts already.
func documentV3(title tree, paths tree, texts map[string]string) ([]byte, error) {
	head, err := json.Marshal(paths)
	if err != nil {
		return nil, err
	}
	info, err := json.Marshal(title)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString(`{"components":{"schemas":`)
	writeSchemas(&b, texts)
	b.WriteString(`,"securitySchemes":{"BearerToken":{"description":"Bearer Token authentication","in":"header","name":"authorization","type":"apiKey"}}},"info":`)
	b.Write(info)
	b.WriteString(`,"openapi":"3.0.0","paths":`)
	b.Write(head)
	b.WriteString("}")
	return b.Bytes(), nil
}

// documentV2 is the same for version 2, with its shared parameters.
func documentV2(title, paths, shared tree, texts map[string]string) ([]byte, error) {
	rest, err := json.Marshal(tree{"info": title, "parameters": shared, "paths": paths, "swagger": "2.0",
		"security":            []tree{{"BearerToken": []string{}}},
		"securityDefinitions": tree{"BearerToken": tree{"description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey"}}})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString(`{"definitions":`)
	writeSchemas(&b, texts)
	b.WriteByte(',')
	b.Write(rest[1:])
	return b.Bytes(), nil
}

func writeSchemas(b *bytes.Buffer, texts map[string]string) {
	names := make([]string, 0, len(texts))
	for n := range texts {
		names = append(names, n)
	}
	sort.Strings(names)
	b.WriteByte('{')
	for i, n := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, "%q:%s", n, texts[n])
	}
	b.WriteByte('}')
}
