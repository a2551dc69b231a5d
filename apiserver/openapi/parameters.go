package openapi

// parameter is a query or path parameter.
type parameter struct {
	name, in, description, kind string // kind: string, boolean, integer
	required                    bool
}

const (
	deleteOptions = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
	status        = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
)

func query(name, kind, description string) *parameter {
	return &parameter{name: name, in: "query", kind: kind, description: description}
}

var (
	paramPretty    = query("pretty", "string", "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent indicates a browser or command-line HTTP tool (curl and wget).")
	paramNamespace = &parameter{name: "namespace", in: "path", kind: "string", required: true, description: "object name and auth scope, such as for teams and projects"}
	paramPath      = &parameter{name: "path", in: "path", kind: "string", required: true, description: "path to the resource"}

	paramDryRun          = query("dryRun", "string", "When present, indicates that modifications should not be persisted. An invalid or unrecognized dryRun directive will result in an error response and no further processing of the request. Valid values are: - All: all dry run stages will be processed")
	paramFieldManager    = query("fieldManager", "string", "fieldManager is a name associated with the actor or entity that is making these changes. The value must be less than or 128 characters long, and only contain printable characters, as defined by https://golang.org/pkg/unicode/#IsPrint.")
	paramApplyManager    = query("fieldManager", "string", paramFieldManager.description+" This field is required for apply requests (application/apply-patch) but optional for non-apply patch types (JsonPatch, MergePatch, StrategicMergePatch).")
	paramFieldValidation = query("fieldValidation", "string", "fieldValidation instructs the server on how to handle objects in the request (POST/PUT/PATCH) containing unknown or duplicate fields. Valid values are: - Ignore: This will ignore any unknown fields that are silently dropped from the object, and will ignore all but the last duplicate field that the decoder encounters. This is the default behavior prior to v1.23. - Warn: This will send a warning via the standard warning response header for each unknown field that is dropped from the object, and for each duplicate field that is encountered. The request will still succeed if there are no other errors, and will only persist the last of any duplicate fields. This is the default in v1.23+ - Strict: This will fail the request with a BadRequest error if any unknown fields would be dropped from the object, or if any duplicate fields are present. The error returned from the server will contain all unknown and duplicate fields encountered.")
	paramForce           = query("force", "boolean", "Force is going to \"force\" Apply requests. It means user will re-acquire conflicting fields owned by other people. Force flag must be unset for non-apply patch requests.")

	writeParams = []*parameter{paramDryRun, paramFieldManager, paramFieldValidation}
	patchParams = []*parameter{paramDryRun, paramApplyManager, paramFieldValidation, paramForce}

	listParams = []*parameter{
		query("allowWatchBookmarks", "boolean", "allowWatchBookmarks requests watch events with type \"BOOKMARK\". Servers that do not implement bookmarks may ignore this flag and bookmarks are sent at the server's discretion. Clients should not assume bookmarks are returned at any specific interval, nor may they assume the server will send any BOOKMARK event during a session. If this is not a watch, this field is ignored."),
		query("continue", "string", "The continue option should be set when retrieving more results from the server. Since this value is server defined, clients may only use the continue value from a previous query result with identical query parameters (except for the value of continue) and the server may reject a continue value it does not recognize."),
		query("fieldSelector", "string", "A selector to restrict the list of returned objects by their fields. Defaults to everything."),
		query("labelSelector", "string", "A selector to restrict the list of returned objects by their labels. Defaults to everything."),
		query("limit", "integer", "limit is a maximum number of responses to return for a list call. If more items exist, the server will set the `continue` field on the list metadata to a value that can be used with the same initial query to retrieve the next set of results."),
		query("resourceVersion", "string", "resourceVersion sets a constraint on what resource versions a request may be served from. See https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions for details.\n\nDefaults to unset"),
		query("resourceVersionMatch", "string", "resourceVersionMatch determines how resourceVersion is applied to list calls. It is highly recommended that resourceVersionMatch be set for list calls where resourceVersion is set See https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions for details.\n\nDefaults to unset"),
		query("sendInitialEvents", "boolean", "`sendInitialEvents=true` may be set together with `watch=true`. In that case, the watch stream will begin with synthetic events to produce the current state of objects in the collection. Once all such events have been sent, a synthetic \"Bookmark\" event will be sent."),
		query("timeoutSeconds", "integer", "Timeout for the list/watch call. This limits the duration of the call, regardless of any activity or inactivity."),
		query("watch", "boolean", "Watch for changes to the described resources and return them as a stream of add, update, and remove notifications. Specify resourceVersion."),
	}
	deleteParams = []*parameter{paramDryRun,
		query("gracePeriodSeconds", "integer", "The duration in seconds before the object should be deleted. Value must be non-negative integer. The value zero indicates delete immediately. If this value is nil, the default grace period for the specified type will be used. Defaults to a per object value if not specified. zero means delete immediately."),
		query("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean", "if set to true, it will trigger an unsafe deletion of the resource in case the normal deletion flow fails with a corrupt object error."),
		query("orphanDependents", "boolean", "Deprecated: please use the PropagationPolicy, this field will be deprecated in 1.7. Should the dependent objects be orphaned. If true/false, the \"orphan\" finalizer will be added to/removed from the object's finalizers list. Either this field or PropagationPolicy may be set, but not both."),
		query("propagationPolicy", "string", "Whether and how garbage collection will be performed. Either this field or OrphanDependents may be set, but not both. The default policy is decided by the existing finalizer set in the metadata.finalizers and the resource-specific default policy. Acceptable values are: 'Orphan' - orphan the dependents; 'Background' - allow the garbage collector to delete the dependents in the background; 'Foreground' - a cascading policy that deletes all dependents in the foreground."),
	}
	deleteCollectionParams = append(append([]*parameter{}, deleteParams...), without(listParams, "allowWatchBookmarks", "watch")...)

	paramContainer = query("container", "string", "The container for which to stream logs. Defaults to only container if there is one container in the pod.")
	logParams      = []*parameter{paramContainer,
		query("follow", "boolean", "Follow the log stream of the pod. Defaults to false."),
		query("insecureSkipTLSVerifyBackend", "boolean", "insecureSkipTLSVerifyBackend indicates that the apiserver should not confirm the validity of the serving certificate of the backend it is connecting to."),
		query("limitBytes", "integer", "If set, the number of bytes to read from the server before terminating the log output."),
		query("previous", "boolean", "Return previous terminated container logs. Defaults to false."),
		query("sinceSeconds", "integer", "A relative time in seconds before the current time from which to show logs."),
		query("stream", "string", "Specify which container log stream to return to the client. Acceptable values are \"All\", \"Stdout\" and \"Stderr\"."),
		query("tailLines", "integer", "If set, the number of lines from the end of the logs to show."),
		query("timestamps", "boolean", "If true, add an RFC3339 or RFC3339Nano timestamp at the beginning of every line of log output. Defaults to false."),
	}
	streamParams = []*parameter{
		query("container", "string", "The container in which to execute the command. Defaults to only container if there is only one container in the pod."),
		query("stderr", "boolean", "Redirect the standard error stream of the pod for this call."),
		query("stdin", "boolean", "Redirect the standard input stream of the pod for this call. Defaults to false."),
		query("stdout", "boolean", "Redirect the standard output stream of the pod for this call."),
		query("tty", "boolean", "TTY if true indicates that a tty will be allocated for the exec call. Defaults to false."),
	}
	proxyParams   = []*parameter{query("path", "string", "Path is the URL path to use for the current proxy request.")}
	connectParams = map[string][]*parameter{
		"PodExecOptions":        append([]*parameter{query("command", "string", "Command is the remote command to execute. argv array. Not executed within a shell.")}, streamParams...),
		"PodAttachOptions":      streamParams,
		"PodPortForwardOptions": {query("ports", "integer", "List of ports to forward Required when using WebSockets")},
		"PodProxyOptions":       proxyParams,
		"ServiceProxyOptions":   proxyParams,
		"NodeProxyOptions":      proxyParams,
	}
)

func nameParam(kind string) *parameter {
	return &parameter{name: "name", in: "path", kind: "string", required: true, description: "name of the " + kind}
}

// with returns list with more at its end; it never writes into list.
func with(list []*parameter, more ...*parameter) []*parameter {
	return append(list[:len(list):len(list)], more...)
}

func without(list []*parameter, names ...string) []*parameter {
	var out []*parameter
next:
	for _, p := range list {
		for _, n := range names {
			if p.name == n {
				continue next
			}
		}
		out = append(out, p)
	}
	return out
}
