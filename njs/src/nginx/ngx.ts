/** What the module needs from nginx: narrow types, and its internal locations. */

export interface NginxReply {
  readonly status: number
  readonly headersOut: { readonly [name: string]: string | string[] | undefined }
  readonly responseBuffer?: Buffer
}

export interface SubrequestOptions {
  method: 'GET' | 'POST'
  /** Without one, the client's body goes along. */
  body?: string | Buffer
}

type Used =
  | 'method'
  | 'uri'
  | 'headersIn'
  | 'headersOut'
  | 'variables'
  | 'rawVariables'
  | 'requestBuffer'
  | 'internalRedirect'
  | 'return'
  | 'error'
  | 'remoteAddress'
  | 'sendBuffer'

export interface NginxRequest extends Pick<NginxHTTPRequest, Used> {
  subrequest(uri: string, options: SubrequestOptions): Promise<NginxReply>
}

/** The URI of an internal location of gitcache-location.conf. */
export function internal(r: NginxRequest, location: string): string {
  return r.variables['gitcache_base'] + '/_gitcache/' + location + '/git-upload-pack'
}
