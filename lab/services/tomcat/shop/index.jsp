<%@ page contentType="text/html" session="true" %>
<!doctype html><title>shop</title><p><%= new java.util.Date() %></p>
