// Package legacy rewrites compose files of version 1, which have their services at
// the top level, into today's model. It is pure: text in, text out. Its neighbour
// cli/compose calls it before the compose library reads a file.
//
// What version 1 meant and today's model says in other words:
//
//   - log_driver, log_opt            logging
//   - dockerfile beside build        build.dockerfile
//   - net                            network_mode; container:NAME of a service is service:NAME
//   - links                          depends_on, and an alias of the linked service on the default network
//   - volumes_from a container       container:NAME
//   - a named volume                 a top-level volume with that very name
//
// Where version 1 wanted a list, one scalar is taken as a list of one.
package legacy

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// today are top-level keys that only today's files have.
var today = []string{"services", "include", "networks", "configs", "secrets", "models", "jobs"}

// lists are the keys of a service whose value is a list.
var lists = []string{"ports", "links", "external_links", "expose", "volumes", "volumes_from", "devices", "cap_add", "cap_drop", "security_opt", "depends_on"}

// Is tells whether text is a compose file of version 1: a mapping without any of
// today's top-level keys, in which some value looks like a service.
func Is(text []byte) bool {
	root, err := parse(text)
	return err == nil && root != nil && is(root)
}

func is(root *yaml.Node) bool {
	found := false
	for key, value := range pairs(root) {
		if slices.Contains(today, key) {
			return false
		}
		if value.Kind == yaml.MappingNode && (get(value, "image") != nil || get(value, "build") != nil || get(value, "extends") != nil) {
			found = true
		}
	}
	return found
}

// Convert returns text in today's form. Text that is not of version 1, malformed
// text included, comes back as it is: who reads it next has the better words.
func Convert(text []byte) ([]byte, error) {
	root, err := parse(text)
	if err != nil || root == nil || !is(root) {
		return text, nil //nolint:nilerr // see above
	}
	services := mapping()
	top := mapping()
	for key, value := range pairs(root) {
		switch {
		case strings.HasPrefix(key, "x-"), key == "name" && value.Kind == yaml.ScalarNode:
			set(top, key, value)
		case key == "version" && value.Kind == yaml.ScalarNode:
		default:
			if value.Kind != yaml.MappingNode {
				return nil, fmt.Errorf("line %d: service %q must be a mapping, not %s", value.Line, key, value.ShortTag())
			}
			set(services, key, value)
		}
	}
	c := &conversion{services: services, volumes: mapping()}
	for name, service := range pairs(services) {
		if err := c.service(name, service); err != nil {
			return nil, err
		}
	}
	c.alias()
	set(top, "services", services)
	if len(c.volumes.Content) > 0 {
		set(top, "volumes", c.volumes)
	}
	return yaml.Marshal(top)
}

type conversion struct {
	services, volumes *yaml.Node
	links             []link
}

type link struct{ target, alias string }

func (c *conversion) service(name string, s *yaml.Node) error {
	for _, key := range lists {
		if v := get(s, key); v != nil && v.Kind == yaml.ScalarNode && v.ShortTag() != "!!null" {
			item := *v
			*v = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Line: v.Line, Content: []*yaml.Node{&item}}
		}
	}
	if err := c.build(name, s); err != nil {
		return err
	}
	c.logging(s)
	c.network(s)
	if err := c.linked(name, s); err != nil {
		return err
	}
	c.mounts(s)
	return nil
}

func (c *conversion) build(name string, s *yaml.Node) error {
	file := take(s, "dockerfile")
	if file == nil {
		return nil
	}
	from := get(s, "build")
	switch {
	case from == nil:
		return fmt.Errorf("line %d: service %q has a dockerfile but no build", file.Line, name)
	case from.Kind == yaml.MappingNode:
		set(from, "dockerfile", file)
	default:
		context := *from
		*from = *mapping()
		set(from, "context", &context)
		set(from, "dockerfile", file)
	}
	return nil
}

func (c *conversion) logging(s *yaml.Node) {
	driver, options := take(s, "log_driver"), take(s, "log_opt")
	if driver == nil && options == nil {
		return
	}
	logging := mapping()
	if driver != nil {
		set(logging, "driver", driver)
	}
	if options != nil {
		set(logging, "options", options)
	}
	set(s, "logging", logging)
}

func (c *conversion) network(s *yaml.Node) {
	net := take(s, "net")
	if net == nil {
		return
	}
	if of, ok := strings.CutPrefix(net.Value, "container:"); ok && get(c.services, of) != nil {
		net = scalar("service:" + of)
	}
	set(s, "network_mode", net)
}

// linked turns links into dependencies and remembers their aliases. A link to
// something that this file does not define stays a link.
func (c *conversion) linked(name string, s *yaml.Node) error {
	links := get(s, "links")
	if links == nil || links.Kind != yaml.SequenceNode {
		return nil
	}
	var stay []*yaml.Node
	for _, item := range links.Content {
		if item.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: a link of service %q must be SERVICE or SERVICE:ALIAS", item.Line, name)
		}
		target, alias, given := strings.Cut(item.Value, ":")
		if !given {
			alias = target
		}
		if owner := c.byContainerName(target); get(c.services, target) == nil && owner != "" {
			target = owner
		}
		if get(c.services, target) == nil {
			stay = append(stay, item)
			continue
		}
		c.links = append(c.links, link{target, alias})
		needs := get(s, "depends_on")
		if needs == nil {
			needs = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
			set(s, "depends_on", needs)
		}
		if !slices.ContainsFunc(needs.Content, func(n *yaml.Node) bool { return n.Value == target }) {
			needs.Content = append(needs.Content, scalar(target))
		}
	}
	if links.Content = stay; len(stay) == 0 {
		take(s, "links")
	}
	return nil
}

// byContainerName is the service whose container has this name of its own.
func (c *conversion) byContainerName(name string) string {
	for service, s := range pairs(c.services) {
		if own := get(s, "container_name"); own != nil && own.Value == name {
			return service
		}
	}
	return ""
}

// alias gives the linked services the names by which others call them. A service
// on a network mode of its own has no aliases: version 1 had none there either.
func (c *conversion) alias() {
	for _, l := range c.links {
		target := get(c.services, l.target)
		if l.alias == l.target || get(target, "network_mode") != nil {
			continue
		}
		aliases := descend(target, "networks", "default", "aliases")
		if aliases.Kind != yaml.SequenceNode {
			*aliases = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		}
		if !slices.ContainsFunc(aliases.Content, func(n *yaml.Node) bool { return n.Value == l.alias }) {
			aliases.Content = append(aliases.Content, scalar(l.alias))
		}
	}
}

func (c *conversion) mounts(s *yaml.Node) {
	if from := get(s, "volumes_from"); from != nil {
		for _, item := range from.Content {
			name, _, _ := strings.Cut(item.Value, ":")
			if get(c.services, name) == nil && name != "container" {
				item.Value = "container:" + item.Value
			}
		}
	}
	volumes := get(s, "volumes")
	if volumes == nil || volumes.Kind != yaml.SequenceNode {
		return
	}
	for _, item := range volumes.Content {
		name, _, mapped := strings.Cut(item.Value, ":")
		if !mapped || item.Kind != yaml.ScalarNode || strings.ContainsAny(name, `/\.~$`) || name == "" {
			continue
		}
		if get(c.volumes, name) == nil {
			volume := mapping()
			set(volume, "name", scalar(name))
			set(c.volumes, name, volume)
		}
	}
}
