require "sinatra/base"
require "tempfile"

class Shop < Sinatra::Base
  set :host_authorization, permitted_hosts: []
  get("/") do
    Tempfile.create("cart") { |file| file.write("visit") }
    "shop\n"
  end
end
